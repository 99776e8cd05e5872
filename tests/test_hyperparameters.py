"""Every float hyperparameter of every optimizer of Keras: scheduled in a compiled update, it does
what the optimizer does when each step's value is assigned and nothing is compiled.

`python -m tests.test_hyperparameters` writes the table of them, docs/hyperparameters.md.
"""

import inspect
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_cyclic as kc
from keras_cyclic import hyperparameters
from keras_cyclic._wrapped_optimizers import real_optimizers
from tests.backends import BACKEND, compiled, tensorflow_only

with_tensors = pytest.mark.skipif(
    BACKEND == "torch", reason="there, updates compute with Python numbers"
)
TABLE = pathlib.Path(__file__).parents[1] / "docs" / "hyperparameters.md"
STEPS = 3

OPTIMIZERS = {
    name: value
    for name, value in vars(keras.optimizers).items()
    if inspect.isclass(value)
    and issubclass(value, keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
}

# First values and what each step adds, such that updates can be told apart; else DEFAULT.
DEFAULT = (0.9, -0.2)
VALUES = {
    "clipnorm": (0.5, -0.2),
    "global_clipnorm": (0.5, -0.2),
    "clipvalue": (0.5, -0.2),
    "epsilon_1": (1e-3, 2e-3),
    "clip_threshold": (0.1, -0.04),
    "loss_scale_factor": (8.0, -2.0),
    "learning_rate_power": (-0.5, 0.1),
    "beta_2_decay": (-0.8, 0.2),
    "muon_a": (3.4, -0.2),
    "muon_b": (-4.7, 0.1),
    "muon_c": (2.0, -0.1),
}


def value(name, t):
    first, added = VALUES.get(name, DEFAULT)
    return first + added * t


# What no update can take from a schedule, and words from the reason that is given.
REFUSED = {
    "initial_accumulator_value": "read once",
    "gradient_accumulation_steps": "counts steps",
    "ema_overwrite_frequency": "counts steps",
    "warmup_steps": "counts steps",
    "ns_steps": "counts steps",
}
REFUSED_OF = {("ScheduleFreeAdamW", "beta_1"): "one value for the whole training"}
ON_ALL = ("gradient_accumulation_steps", "ema_overwrite_frequency")
# Of these, one excludes the others.
CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")
# It multiplies the loss and divides the gradients, which no weight shows.
WITHOUT_EFFECT = ("loss_scale_factor",)


@keras.saving.register_keras_serializable(package="test_hyperparameters")
class Line(keras.optimizers.schedules.LearningRateSchedule):
    """A first value, and what each step adds."""

    def __init__(self, first, added):
        self.first = first
        self.added = added

    def __call__(self, step):
        return self.first + self.added * ops.cast(step, "float32")

    def get_config(self):
        return {"first": self.first, "added": self.added}


@keras.saving.register_keras_serializable(package="test_hyperparameters")
class FastLine(kc.schedules.Schedule):
    """The same as one of our schedules, which can be looked at faster."""

    def __init__(self, first, added):
        self.first = first
        self.added = added

    def learning_rate(self, step):
        return self.first + self.added * ops.cast(step, "float32")


def refusal(optimizer, name):
    return REFUSED_OF.get((optimizer, name)) or REFUSED.get(name)


def candidates(optimizer):
    """The names of all constructor arguments that are numbers, or None and could be."""
    return [
        name
        for name, value in OPTIMIZERS[optimizer]().get_config().items()
        if name not in ("name", "learning_rate", "exclude_layers")
        and (value is None or not isinstance(value, bool))
    ]


def schedulable(optimizer):
    return [name for name in candidates(optimizer) if not refusal(optimizer, name)]


def built(optimizer, names, dtype="float32"):
    """An optimizer that has the hyperparameters, with weights to update and their gradients."""
    rng = np.random.default_rng(3)
    start = [rng.normal(size=shape) for shape in ((4, 3), (3,))]
    weights = [keras.Variable(value, dtype=dtype, name="w") for value in start]
    options = {name: value(name, 0) for name in names}
    made = OPTIMIZERS[optimizer](0.05, use_ema="ema_momentum" in names, **options)
    made.build(weights)
    gradients = rng.normal(size=(STEPS, 12)), rng.normal(size=(STEPS, 3))
    return made, weights, [g.reshape(STEPS, *w.shape) for g, w in zip(gradients, weights)]


def step(optimizer, weights, gradients):
    gradients = [optimizer.scale_loss(ops.cast(g, w.dtype)) for g, w in zip(gradients, weights)]
    optimizer.apply(gradients, weights)


def assigned(optimizer, names, frozen=None, dtype="float32"):
    """Weights and slots after steps that are not compiled, each value assigned before its step."""
    made, weights, gradients = built(optimizer, names, dtype)
    for t in range(STEPS):
        for name in names:
            setattr(made, name, value(name, 0 if name == frozen else t))
        step(made, weights, [g[t] for g in gradients])
    return state(made, weights)


def scheduled(optimizer, names, dtype="float32"):
    """The same from one compiled step with our schedules in it."""
    made, weights, gradients = built(optimizer, names, dtype)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(made, "mse")
    callbacks = keras.callbacks.CallbackList(
        [
            kc.callbacks.HyperparameterSchedule(name, FastLine(*VALUES.get(name, DEFAULT)))
            for name in names
        ],
        model=model,
        epochs=1,
        steps=STEPS,
    )
    callbacks.on_train_begin()
    traces = []
    update = compiled_update(made, weights, traces)
    for t in range(STEPS):
        update(*(ops.convert_to_tensor(g[t], dtype) for g in gradients))
    assert hyperparameters.scheduled(made).keys() == set(names)
    callbacks.on_train_end()
    assert len(traces) == (STEPS if BACKEND == "torch" else 1)
    assert not hyperparameters.scheduled(made)
    return state(made, weights)


def compiled_update(optimizer, weights, traces):
    """A function of gradients, with a step of the optimizer compiled as the backend compiles it.

    Appends to `traces` each time that Python runs it.
    """

    def traced(*gradients):
        traces.append(gradients)
        step(optimizer, weights, gradients)

    if BACKEND != "jax":
        return compiled(traced, "graph")
    variables = [*weights, *optimizer.variables]

    def stateless(values, gradients):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))) as scope:
            traced(*gradients)
        return [scope.get_current_value(variable) for variable in variables]

    update = compiled(stateless)

    def call(*gradients):
        values = update([variable.value for variable in variables], gradients)
        for variable, value in zip(variables, values):
            variable.assign(value)

    return call


def state(optimizer, weights):
    values = [ops.convert_to_numpy(variable) for variable in weights + optimizer.variables]
    return np.concatenate([np.ravel(value).astype("float64") for value in values])


def sets_of_names(optimizer):
    """All schedulable names, in as few sets as one optimizer can have at a time."""
    names = [name for name in schedulable(optimizer) if name not in CLIPPING]
    return [[*names, "clipnorm"], ["global_clipnorm"], ["clipvalue"]]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_hyperparameter_of_every_optimizer(optimizer):
    if optimizer == "Muon" and keras.__version__.startswith("3.12."):
        pytest.skip("Muon of Keras 3.12 does not train on TensorFlow, with us or without")
    for names in sets_of_names(optimizer):
        ours, reference = scheduled(optimizer, names), assigned(optimizer, names)
        assert np.isfinite(reference).all()
        np.testing.assert_allclose(ours, reference, rtol=2e-5, atol=1e-6, err_msg=str(names))
        for name in names if BACKEND == "tensorflow" else ():
            # What all optimizers share need not be shown to matter for each.
            if name not in WITHOUT_EFFECT and (name not in candidates("SGD") or optimizer == "SGD"):
                frozen = assigned(optimizer, names, frozen=name)
                noise = np.max(np.abs(ours - reference))
                assert np.max(np.abs(frozen - reference)) > 1e-6 + 20 * noise, name


@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop"])
def test_half_precision_weights(optimizer):
    for names in sets_of_names(optimizer):
        ours = scheduled(optimizer, names, dtype="float16")
        np.testing.assert_allclose(
            ours, assigned(optimizer, names, dtype="float16"), rtol=2e-2, atol=5e-3
        )


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [(o, n) for o in OPTIMIZERS for n in candidates(o) if refusal(o, n) and n not in ON_ALL],
)
def test_refused_pairs(optimizer, name):
    with pytest.raises(ValueError, match=f"`{name}` of {optimizer} .*{refusal(optimizer, name)}"):
        refuse(OPTIMIZERS[optimizer](), name)


@pytest.mark.parametrize("name", ON_ALL)
def test_refused_of_all_optimizers(name):
    with pytest.raises(ValueError, match=f"`{name}` of Adam .*counts steps"):
        refuse(keras.optimizers.Adam(use_ema=True, **{name: 2}), name)


def refuse(optimizer, name, schedule=None):
    """Starts a `fit` that is to be refused, and checks that it changed nothing."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    before = [w.copy() for w in model.get_weights()]
    schedule = schedule or kc.schedules.Constant(0.5)
    callbacks = [kc.callbacks.HyperparameterSchedule(name, schedule)]
    try:
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=callbacks)
    finally:
        # An error in a step that JAX traces leaves the model's variables without values.
        if BACKEND != "jax" or not isinstance(optimizer, Ignoring):
            assert int(optimizer.iterations) == 0
            for now, then in zip(model.get_weights(), before):
                np.testing.assert_array_equal(now, then)


class Ignoring(keras.optimizers.SGD):
    """Has a hyperparameter that its update does not look at."""

    warmth = 0.0

    def __init__(self):
        super().__init__(0.1)
        self.warmth = 0.3

    def get_config(self):
        return super().get_config() | {"warmth": self.warmth}


class Branching(Ignoring):
    """Takes a decision in Python that a compiled step would keep."""

    def update_step(self, gradient, variable, learning_rate):
        if self.warmth > 0.2:
            super().update_step(gradient, variable, learning_rate)


class Rounding(Ignoring):
    """Takes a Python number from its hyperparameter."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * float(self.warmth), variable, learning_rate)


sgd = keras.optimizers.SGD


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (
            lambda: sgd(0.1, 0.9),
            "momentun",
            "no such hyperparameter, only weight_decay, .*momentum",
        ),
        (lambda: sgd(0.1, 0.9), "beta_1", "no such hyperparameter"),
        (lambda: sgd(0.1, 0.9), "_iterations", "no such hyperparameter"),
        (lambda: sgd(0.1), "momentum", "no momentum slots: build it with a positive one"),
        (
            lambda: sgd(0.1, 0.9),
            "weight_decay",
            "it is None.*build the optimizer with a weight_dec",
        ),
        (lambda: sgd(0.1, 0.9), "ema_momentum", "use_ema=True"),
        (lambda: sgd(0.1, 0.9), "nesterov", "no float but False"),
        (lambda: sgd(0.1, 0.9), "name", "no float but '(sgd|SGD)"),
        (lambda: sgd(0.1, clipnorm=0.0), "clipnorm", "0 switches it off"),
        (lambda: sgd(0.1, 0.9), "learning_rate", "learning_rate=schedule"),
        pytest.param(
            *(Ignoring, "warmth", "the update of this model's weights does not use it"),
            marks=with_tensors,
        ),
    ],
)
def test_refused_before_the_first_step(make, name, message):
    with pytest.raises(ValueError, match=message):
        refuse(make(), name)


@with_tensors
@pytest.mark.parametrize(
    ("make", "message"),
    [(Branching, "cannot be compared with 0.2"), (Rounding, "no Python number inside")],
)
def test_refused_where_the_compiled_step_would_keep_a_number(make, message):
    with pytest.raises(TypeError, match=message):
        refuse(make(), "warmth")


@pytest.mark.parametrize(
    ("name", "schedule", "message"),
    [
        (
            "momentum",
            kc.schedules.Constant(1.0),
            r"0 or more and below 1\. Received: 1.0 at step 0",
        ),
        ("momentum", kc.schedules.Triangular(0.8, 1.2, 100), "at step 50 from Triangular"),
        ("momentum", Line(0.5, -0.3), "at step 2"),
        ("momentum", Line(float("inf"), -1.0), "at step 0"),
        ("weight_decay", Line(0.1, -0.01), "0 or more"),
        ("clipnorm", kc.schedules.LinearDecay(1.0, 64), r"above 0\. Received: 0.0 at step 64"),
    ],
)
def test_values_that_the_optimizer_does_not_allow(name, schedule, message):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(sgd(0.1, momentum=0.9, weight_decay=0.1, clipnorm=1.0), "mse")
    callback = kc.callbacks.HyperparameterSchedule(name, schedule)
    x, y = np.ones((70, 2)), np.ones((70, 1))
    with pytest.raises(ValueError, match=f"The schedule of `{name}` must give.*{message}"):
        model.fit(x, y, batch_size=1, epochs=10, verbose=0, callbacks=[callback])
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.9, kc.schedules.Constant(0.1)), "`name` must be"), (("momentum", 0.9), "`schedule` must")],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(TypeError, match=message):
        kc.callbacks.HyperparameterSchedule(*arguments)


def test_two_schedules_on_one_name():
    wave = kc.schedules.Triangular(0.1, 0.2, 5)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(sgd(wave, momentum=0.9), "mse")
    two = [
        kc.callbacks.CyclicalMomentum(),
        kc.callbacks.HyperparameterSchedule("momentum", kc.schedules.Constant(0.5)),
    ]
    with pytest.raises(ValueError, match="`momentum` of SGD has two schedules in one `fit`"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=two)
    assert model.optimizer.momentum == 0.9


def test_a_model_without_an_optimizer():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    callback = kc.callbacks.CyclicalMomentum()
    callback.set_model(model)
    with pytest.raises(ValueError, match="must be compiled"):
        callback.on_train_begin()


def test_config_round_trip():
    callback = kc.callbacks.HyperparameterSchedule("beta_2", kc.schedules.Constant(0.99))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(callback))
    assert (
        repr(again)
        == repr(callback)
        == ("HyperparameterSchedule(name='beta_2', schedule=Constant(lr=0.99))")
    )


multi_optimizer = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with Keras 3.15"
)


def groups(first, second, **kwargs):
    return keras.optimizers.MultiOptimizer(lambda v: first if "one" in v.path else second, **kwargs)


def two_layers(*, lazy=False):
    layers = [keras.layers.Dense(3, name="one"), keras.layers.Dense(1, name="two")]
    return keras.Sequential([*([] if lazy else [keras.Input((2,))]), *layers])


@multi_optimizer
def test_real_optimizers():
    one, two = sgd(0.1), keras.optimizers.Adam()
    assert real_optimizers(one) == [one]
    assert real_optimizers(keras.optimizers.LossScaleOptimizer(two)) == [two]
    model = two_layers()
    model.compile(keras.optimizers.LossScaleOptimizer(groups(one, two)), "mse")
    assert hyperparameters.real_optimizers_of(model) == [one, two]
    mapped = keras.optimizers.OptimizerMap(sgd(0.1))
    mapped["nowhere"] = keras.optimizers.Adam()
    mapped["one/.*"] = one
    model.compile(keras.optimizers.MultiOptimizer(mapped), "mse")
    assert hyperparameters.real_optimizers_of(model) == [one, mapped.default_optimizer]


@multi_optimizer
def test_a_group_without_the_hyperparameter_is_left_alone():
    one, two = sgd(0.1, momentum=0.9), keras.optimizers.Adam()
    model = two_layers()
    model.compile(groups(one, two), "mse")
    seen = []
    see = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(
            [hyperparameters.scheduled(optimizer) for optimizer in model.optimizer.optimizers]
        )
    )
    callback = kc.callbacks.HyperparameterSchedule("momentum", kc.schedules.Constant(0.5))
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[callback, see])
    assert seen == [[{"momentum": 0.5}, {}]]


@multi_optimizer
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rho", "no such hyperparameter"),
        ("momentum", "no momentum slots"),
        ("loss_scale_factor", "MultiOptimizer, which scales the loss"),
    ],
)
def test_groups_that_cannot_be_scheduled(name, message):
    model = two_layers()
    model.compile(groups(sgd(0.1), keras.optimizers.Adam(), loss_scale_factor=2.0), "mse")
    callback = kc.callbacks.HyperparameterSchedule(name, kc.schedules.Constant(0.5))
    with pytest.raises(ValueError, match=message):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[callback])


@multi_optimizer
@tensorflow_only("elsewhere its groups are known from the start")
def test_groups_that_are_not_known_yet():
    model = two_layers(lazy=True)
    model.compile(groups(sgd(0.1, momentum=0.9), keras.optimizers.Adam()), "mse")
    callback = kc.callbacks.HyperparameterSchedule("momentum", kc.schedules.Constant(0.5))
    with pytest.raises(ValueError, match="not known yet"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[callback])


def test_a_model_that_is_built_by_its_first_batch():
    model = two_layers(lazy=True)
    model.compile(sgd(0.1, momentum=0.9), "mse")
    callback = kc.callbacks.HyperparameterSchedule("momentum", kc.schedules.Constant(0.5))
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[callback])
    assert model.optimizer.momentum == 0.9


def table():
    """The text of docs/hyperparameters.md."""
    shared = set.intersection(*(set(schedulable(optimizer)) for optimizer in OPTIMIZERS))
    names = {
        optimizer: [f"`{name}`" for name in schedulable(optimizer) if name not in shared]
        for optimizer in sorted(OPTIMIZERS)
    }
    refused = {
        optimizer: [f"`{name}`" for name in candidates(optimizer) if refusal(optimizer, name)]
        for optimizer in sorted(OPTIMIZERS)
    }
    everywhere = set.intersection(*map(set, refused.values()))
    rows = [
        f"| {optimizer} | {', '.join(names[optimizer])} | "
        f"{', '.join(name for name in refused[optimizer] if name not in everywhere)} |"
        for optimizer in sorted(OPTIMIZERS)
    ]
    in_order = [name for name in candidates("SGD") if name in shared]
    return f"""# Hyperparameters that a schedule can drive

`kc.callbacks.HyperparameterSchedule(name, schedule)` drives these inside the compiled step. A test
trains with each of them (`tests/test_hyperparameters.py`, which also writes this file).

Every optimizer of Keras: {", ".join(f"`{name}`" for name in in_order)}.
No optimizer: {", ".join(sorted(everywhere))}, which count steps; `learning_rate`, which takes a
schedule without a callback.

| optimizer | also | not |
|---|---|---|
{chr(10).join(rows)}

A hyperparameter must be switched on when the optimizer is built, since that is when it makes its
slots: SGD and RMSprop with a positive `momentum`, `use_ema=True` for `ema_momentum`, and those
that are None by default (`weight_decay`, `clipnorm`, ...) with a number. `loss_scale_factor`
works on an optimizer that is not wrapped.

Not: `initial_accumulator_value` is read once, when the optimizer is built. `ns_steps` and
`warmup_steps` count. ScheduleFreeAdamW takes the last step's weights apart with `beta_1`, which
gives wrong weights when it has changed.
"""


def test_the_published_table():
    """Other versions of Keras may have fewer optimizers; the ones that they have agree."""
    published = TABLE.read_text(encoding="utf-8").splitlines()
    now = table().splitlines()
    if len(now) == len(published):
        assert now == published
    for optimizer in OPTIMIZERS:
        (row,) = (line for line in published if line.startswith(f"| {optimizer} |"))
        works, refused = row.split("|")[2:4]
        for name in schedulable(optimizer):
            shared = any(f"`{name}`" in line for line in published if line.startswith("Every"))
            assert shared or f"`{name}`" in works
        assert all(
            f"`{name}`" not in works for name in candidates(optimizer) if f"`{name}`" in refused
        )


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
