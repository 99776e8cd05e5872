import csv
import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_cyclic as kc
from keras_cyclic import _step_count, training
from tests import backends
from tests.oracles import exact, optimizers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype("float32")
Y = (X @ RNG.normal(size=(4, 1)) + 0.1).astype("float32")
BATCHES = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 50, 16)]
needs_multi_optimizer = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with Keras 3.15"
)


def linear_model(optimizer="sgd", **compile_arguments):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **backends.compile_arguments(**compile_arguments))
    return model


def momentum_sgd(rate=0.01):
    return keras.optimizers.SGD(rate, momentum=0.9)


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)


def fit(model, x=X, y=Y, **arguments):
    given = {"epochs": 3, "max_lr": 0.1, "batch_size": 16, "shuffle": False, "verbose": 0}
    return kc.fit_one_cycle(model, x, y, **{**given, **arguments})


def flat(model):
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


class At(keras.callbacks.Callback):
    """Calls a function after so many batches of the `fit`."""

    def __init__(self, batch, function):
        super().__init__()
        self.batch, self.function, self.seen = batch, function, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.batch:
            self.function()


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("optimizer", "rule", "accumulate", "per_execution"),
    [
        (momentum_sgd, optimizers.sgd, 1, 1),
        (
            lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
            optimizers.adam,
            2,
            3,
        ),
    ],
    ids=["SGD", "Adam"],
)
def test_two_calls_are_two_cycles_of_rate_and_momentum(optimizer, rule, accumulate, per_execution):
    model = linear_model(optimizer(), steps_per_execution=per_execution)
    first = flat(model)
    # 40 of the 50 samples are left: two whole batches and a half.
    history = fit(model, epochs=4, validation_split=0.2)
    options = {"pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 100.0}
    fit(
        model,
        epochs=6,
        initial_epoch=2,
        max_lr=0.05,
        validation_split=0.2,
        profile=("linear", "cosine"),
        three_phase=True,
        base_momentum=0.7,
        max_momentum=0.9,
        **options,
    )

    def rate(step):
        if step < 12:
            return float(exact.one_cycle(step, 0.1, 12))
        return float(
            exact.one_cycle(
                step - 12, 0.05, 12, up=exact.linear, down=exact.cosine, three_phase=True, **options
            )
        )

    def momentum(step):
        if step < 12:
            low, high, base, most = 0.004, 0.1, 0.85, 0.95
            # Below where it started the rate has a height of its own: from the end to the peak.
            low = low if step < 2.6 else float(exact.one_cycle(11, 0.1, 12))
        else:
            low, high, base, most = 0.005, 0.05, 0.7, 0.9
        height = max((rate(step) - low) / (high - low), 0.0)
        return most - (most - base) * height

    batches = [(X[i : min(i + 16, 40)], Y[i : min(i + 16, 40), 0]) for i in (0, 16, 32)] * 8
    expected = optimizers.train(rule, first, batches, rate, momentum, accumulate)
    np.testing.assert_allclose(flat(model), expected, rtol=2e-4, atol=2e-6)
    name = "momentum" if rule is optimizers.sgd else "beta_1"
    ends = (3, 6, 9, 12)
    rates = [float(exact.one_cycle(step, 0.1, 12)) for step in ends]
    np.testing.assert_allclose(history.history["learning_rate"], rates, rtol=1e-5)
    momenta = [momentum(min(step, 11)) for step in ends]
    np.testing.assert_allclose(history.history[name], momenta, rtol=1e-5)
    assert len(history.history["val_loss"]) == 4


def test_the_optimizer_is_as_it_was():
    decay = keras.optimizers.schedules.ExponentialDecay(0.25, 10, 0.5)
    interrupt = KeyboardInterrupt("by the user")
    for own_rate, error in [
        (0.25, None),
        (0.25, interrupt),
        (decay, RuntimeError("a bug")),
        (kc.schedules.Sequential([kc.schedules.Constant(0.25)] * 2, [5]), None),
        (lambda: 0.25, interrupt),
    ]:
        optimizer = keras.optimizers.SGD(own_rate, momentum=0.9)
        model = linear_model(optimizer)
        optimizer.build(model.trainable_variables)
        before = {name: vars(optimizer)[name] for name in vars(optimizer)}
        variables = optimizer.variables
        config = None if type(own_rate) is type(lambda: 0) else optimizer.get_config()
        callbacks = [At(5, raising(error))] if error else []
        if error:
            with pytest.raises(type(error), match=str(error)):
                fit(model, callbacks=callbacks)
        else:
            fit(model, callbacks=callbacks)
        assert int(optimizer.iterations) == (5 if error else 12)
        assert type(optimizer) is type(keras.optimizers.SGD())
        assert vars(optimizer).keys() == before.keys()
        assert vars(optimizer)["_learning_rate"] is before["_learning_rate"]
        assert [id(variable) for variable in optimizer.variables] == list(map(id, variables))
        assert config is None or optimizer.get_config() == config
        assert optimizer.momentum == 0.9
        # The next compiled step goes by the old rate and momentum.
        velocity = np.concatenate([np.ravel(v) for v in optimizer.momentums])
        weights = flat(model).astype("float64")
        rate = float(optimizer.learning_rate)
        if own_rate is decay:
            np.testing.assert_allclose(rate, 0.25 * 0.5 ** (int(optimizer.iterations) / 10))
        else:
            assert rate == 0.25
        gradient = optimizers.gradient(weights, X, Y[:, 0])
        model.train_on_batch(X, Y)
        expected = weights + 0.9 * velocity - rate * gradient
        np.testing.assert_allclose(flat(model), expected, rtol=1e-5)


class Sequence(keras.utils.PyDataset):
    def __init__(self, length, **arguments):
        super().__init__(**arguments)
        self.length = length

    def __len__(self):
        if self.length is None:
            raise NotImplementedError
        return self.length

    @property
    def num_batches(self):
        return self.length

    def __getitem__(self, index):
        return BATCHES[index % len(BATCHES)]


def generator(count=1000):
    for i in range(count):
        yield BATCHES[i % len(BATCHES)]


class Counting(keras.Sequential):
    """Counts the batches that it gets as the steps of its optimizer, and does nothing else."""

    def train_step(self, data):
        self.optimizer._iterations.assign_add(tf.cast(tf.shape(data[0])[0] > 0, "int64"))
        return {"loss": tf.constant(0.0)}


@pytest.mark.parametrize("per_execution", [1, 3])
def test_steps_are_counted_as_fit_takes_them(per_execution):
    twice = np.concatenate([X, X]), np.concatenate([Y, Y])
    inputs = {
        "tensors, own batch size": (tf.constant(X), tf.constant(Y), {"batch_size": None}),
        "batch size from steps": (X, Y, {"batch_size": None, "steps_per_epoch": 5}),
        "split": (*twice, {"validation_split": 0.25}),
        "fewer steps than batches": (*twice, {"steps_per_epoch": 4, "epochs": 4}),
        "more steps than batches": (X, Y, {"steps_per_epoch": 6}),
        "dataset": (dataset(), None, {}),
        "endless dataset": (dataset().repeat(), None, {"steps_per_epoch": 5}),
        "dataset that does not know": (dataset().filter(lambda x, y: True), None, {"epochs": 2}),
        "Sequence": (Sequence(5), None, {}),
        "endless Sequence": (Sequence(None), None, {"steps_per_epoch": 4}),
        "generator": (generator(), None, {"steps_per_epoch": 7, "initial_epoch": 1}),
    }
    if per_execution > 1:
        inputs = {
            name: given for name, given in inputs.items() if "steps" in name or "data" in name
        }
    model = linear_model("sgd", steps_per_execution=per_execution)
    for name, (x, y, arguments) in inputs.items():
        totals = []
        see = At(1, lambda totals=totals: totals.append(model.optimizer._learning_rate))
        begin = int(model.optimizer.iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(model, x, y, callbacks=see, **arguments)
        schedule = getattr(totals[0], "schedule", totals[0])
        assert schedule.total_steps == int(model.optimizer.iterations) - begin, name


def test_several_inputs_in_a_dict_and_a_torch_loader():
    inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((2,), name="right")}
    outputs = keras.layers.Dense(1)(keras.layers.Concatenate()(list(inputs.values())))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    fit(model, {"left": X[:, :2], "right": X[:, 2:]}, Y)
    assert int(model.optimizer.iterations) == 12
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    model = linear_model()
    history = fit(model, torch.utils.data.DataLoader(data, batch_size=16), None)
    assert int(model.optimizer.iterations) == 12
    np.testing.assert_allclose(history.history["learning_rate"][-1], 4e-7, rtol=1e-5)


def test_endless_and_empty_data_is_refused():
    endless = {
        "generator does not say": generator(),
        "has no end": dataset().repeat(),
        "made from one that has no end": dataset().repeat().filter(lambda x, y: True),
        "the data has no end": Sequence(None),
    }
    for text, x in endless.items():
        with pytest.raises(ValueError, match=f"`steps_per_epoch` must be given.*{text}.*Received"):
            fit(linear_model(), x, None)
    for x in (dataset().take(0), dataset().filter(lambda x, y: False), Sequence(0)):
        with pytest.raises(ValueError, match=r"`x` must hold at least one batch.*Received"):
            fit(linear_model(), x, None)
    assert len(list(generator(3))) == 3


def test_a_long_count_is_announced_and_a_short_cycle_warned_of(monkeypatch):
    monkeypatch.setattr(_step_count, "_SECONDS_TO_COUNT_IN_SILENCE", 0.0)
    model = linear_model()
    with pytest.warns(UserWarning, match="Pass `steps_per_epoch`") as seen:
        history = fit(model, dataset().filter(lambda x, y: True), None, epochs=3)
    assert sum(each.category is UserWarning for each in seen) == 1
    # Keras alone counts a step more in each epoch.
    assert int(model.optimizer.iterations) == 12
    rates = [float(exact.one_cycle(step, 0.1, 12)) for step in (4, 8, 12)]
    np.testing.assert_allclose(history.history["learning_rate"], rates, rtol=1e-5)
    with pytest.warns(UserWarning, match="4 steps, too few to rise"):
        fit(linear_model(), epochs=1)


def test_without_a_rate_the_range_test_finds_it_and_leaves_nothing_else(capsys):
    def train(x, y, **arguments):
        model = linear_model(momentum_sgd())
        history = fit(model, x, y, batch_size=25, shuffle=True, **arguments)
        return flat(model), history.history["learning_rate"]

    model = linear_model(momentum_sgd())
    max_lr = kc.lr_range_test(model, X, Y, batch_size=25, verbose=0).bounds()[1]
    capsys.readouterr()
    # The validation, too, for which PyTorch draws a random number.
    expected, rates = train(X, Y, max_lr=max_lr, validation_data=(X, Y))
    assert capsys.readouterr().out == ""
    # The last rows, which are split off, would drive every test to divergence.
    x, y = np.concatenate([X, X]), np.concatenate([Y, 1e4 * Y])
    found, found_rates = train(x, y, max_lr=None, validation_split=0.5, verbose=2)
    np.testing.assert_array_equal(found, expected)
    assert found_rates == rates
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"fit_one_cycle: the range test chose max_lr={max_lr:.3g}"
    assert sum("fit_one_cycle" in line for line in printed) == 1


def test_what_the_range_test_reads_of_a_generator_is_trained_on(capsys):
    weights, max_lr = [], None
    for _ in range(2):
        model = linear_model(momentum_sgd())
        model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
        schedules = []
        see = At(1, lambda model=model, seen=schedules: seen.append(model.optimizer._learning_rate))
        fit(model, generator(14), None, max_lr=max_lr, epochs=2, steps_per_epoch=7, callbacks=[see])
        max_lr = schedules[0].max_lr
        assert int(model.optimizer.iterations) == 14
        weights.append(flat(model))
    np.testing.assert_array_equal(*weights)
    assert capsys.readouterr().out == ""


def test_a_range_test_without_an_answer_asks_for_the_rate(monkeypatch):
    flat_result = kc.RangeTestResult(np.geomspace(1e-7, 10, 100), np.ones(100))
    monkeypatch.setattr(training, "lr_range_test", lambda *args, **arguments: flat_result)
    model = linear_model()
    with pytest.raises(ValueError, match=r"no learning rate for `max_lr`. Give `max_lr`.*never"):
        fit(model, max_lr=None)
    assert int(model.optimizer.iterations) == 0


def test_optimizers_without_momentum_train_without_and_say_so(capsys):
    for optimizer in ("sgd", "adagrad"):
        history = fit(linear_model(optimizer), verbose=2)
        lines = [line for line in capsys.readouterr().out.splitlines() if "momentum" in line]
        assert len(lines) == 1
        assert lines[0].startswith("fit_one_cycle: ")
        assert set(history.history) == {"loss", "learning_rate"}
    history = fit(linear_model(momentum_sgd()), cycle_momentum=False)
    assert set(history.history) == {"loss", "learning_rate"}
    assert capsys.readouterr().out == ""


def group_model(multipliers, rate):
    def group(multiplier):
        return keras.optimizers.SGD(rate(multiplier), momentum=0.9, name=f"times_{multiplier}")

    first, second = map(group, multipliers)
    optimizer_map = keras.optimizers.OptimizerMap(first, {".*/bias": second})
    return linear_model(keras.optimizers.MultiOptimizer(optimizer_map))


@needs_multi_optimizer
@pytest.mark.parametrize(
    "rate",
    [
        lambda multiplier: 0.02 * multiplier,
        lambda multiplier: kc.schedules.LinearDecay(0.02, 1) * multiplier,
    ],
    ids=["float", "ended schedule"],
)
def test_groups_keep_their_ratios(rate):
    model = group_model((0.25, 0.5), rate)
    own = [group._learning_rate for group in model.optimizer.optimizers]
    model.fit(X, Y, verbose=0)
    history = fit(model, epochs=3).history
    rates = np.array([float(exact.one_cycle(step, 0.1, 12)) for step in (4, 8, 12)])
    np.testing.assert_allclose(history["learning_rate_times_0.5"], rates, rtol=1e-5)
    np.testing.assert_allclose(history["learning_rate_times_0.25"], rates / 2, rtol=1e-5)
    for name in ("momentum_times_0.25", "momentum_times_0.5"):
        np.testing.assert_allclose(history[name][-1], 0.95, rtol=1e-6)
    assert all(a._learning_rate is b for a, b in zip(model.optimizer.optimizers, own))


def test_under_a_loss_scale_a_skipped_step_shortens_the_cycle():
    optimizer = keras.optimizers.LossScaleOptimizer(momentum_sgd(), initial_scale=2.0**10)
    model = linear_model(optimizer)
    bad = np.where(np.arange(50)[:, None] == 20, np.inf, Y)
    history = fit(model, X, bad)
    # One batch of each epoch of four is skipped.
    rates = [float(exact.one_cycle(step, 0.1, 12)) for step in (3, 6, 9)]
    np.testing.assert_allclose(history.history["learning_rate"], rates, rtol=1e-5)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


def values_of(optimizer, model):
    backends.bring_up_to_date(model)
    return [np.array(backends.to_numpy(variable)) for variable in optimizer.variables]


def test_what_is_saved_in_the_middle_loads_whole(tmp_path):
    model = linear_model(momentum_sgd())
    keys = []
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: keys.append(set(logs))),
        At(8, lambda: values.extend(values_of(model.optimizer, model))),
    ]
    values = []
    history = fit(model, callbacks=callbacks)
    other = linear_model(momentum_sgd())
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "2.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = keras.models.load_model(tmp_path / "2.keras")
    for saved in (loaded, other):
        for variable, value in zip(saved.optimizer.variables, values, strict=True):
            np.testing.assert_array_equal(variable, value)
        assert float(saved.optimizer.learning_rate) == pytest.approx(0.01)
        assert saved.optimizer.momentum == 0.9
    # TensorFlow's own checkpoints refuse an optimizer from whose variables one was ever taken.
    if backends.BACKEND == "tensorflow":
        tf.train.Checkpoint(optimizer=model.optimizer).save(str(tmp_path / "checkpoint"))
    assert keys == [{"loss", "learning_rate", "momentum"}] * 3
    with open(tmp_path / "log.csv") as file:
        logged = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(logged, history.history["learning_rate"], rtol=1e-6)
    assert json.loads(model.to_json())["class_name"] == "Sequential"


def test_an_interrupted_call_goes_on_from_its_backup(tmp_path):
    expected = linear_model(momentum_sgd())
    expected.fit(X, Y, 16, shuffle=False, verbose=0)
    weights, variables = expected.get_weights(), [v.numpy() for v in expected.optimizer.variables]
    fit(expected, epochs=4)

    def trained_before():
        model = linear_model(momentum_sgd())
        model.optimizer.build(model.trainable_variables)
        model.set_weights(weights)
        model.optimizer.set_weights(variables)
        return model

    model = trained_before()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    # After two of the four epochs, and then, by the same call, after the third.
    for batch in (10, 5):
        with pytest.raises(KeyboardInterrupt):
            fit(model, epochs=4, callbacks=[backup, At(batch, raising(KeyboardInterrupt()))])
    model = trained_before()
    history = fit(model, epochs=4, callbacks=[backup])
    assert len(history.history["loss"]) == 1
    np.testing.assert_allclose(flat(model), flat(expected), rtol=1e-6)
    # The next call is a whole one.
    assert len(fit(model, epochs=4).history["loss"]) == 4


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"epochs": 0}, ValueError, "`epochs` must be .* epochs.*Received: epochs=0"),
        ({"epochs": "3"}, TypeError, "`epochs` must be"),
        ({"max_lr": 0.0}, ValueError, "`max_lr` must be .*above 0.*Received: max_lr=0.0"),
        ({"max_lr": "fast"}, TypeError, "`max_lr` must be"),
        ({"pct_start": 1.5}, ValueError, "`pct_start` must be"),
        ({"profile": "square"}, ValueError, "square"),
        ({"base_momentum": 0.99}, ValueError, "`base_momentum` must not be above"),
        ({"cycle_momentum": 1}, TypeError, "`cycle_momentum` must be True or False"),
        ({"initial_epoch": 3}, ValueError, "`initial_epoch` must be below `epochs`"),
        ({"initial_epoch": -1}, ValueError, "`initial_epoch` must be a whole number"),
        ({"steps_per_epoch": 0}, ValueError, "`steps_per_epoch` must be .* batches"),
        ({"batch_size": 2.5}, ValueError, "`batch_size` must be .* samples"),
        ({"validation_split": 2}, ValueError, "`validation_split` must be"),
        ({"callbacks": ["early stopping"]}, TypeError, "`callbacks` must be .*Received: 'early"),
        ({"callbacks": kc.callbacks.CyclicalMomentum()}, ValueError, "`callbacks` must hold no"),
        ({"callbacks": kc.callbacks.LRRangeTest()}, ValueError, "no `LRRangeTest`, which would"),
        ({"class_wieght": {0: 1.0}}, TypeError, "`class_wieght` must be one of .*class_weight"),
        ({"x": None}, ValueError, "`x` must be the inputs.*Received: x=None"),
        ({"y": Y[:7]}, ValueError, "cardinality"),
    ],
    # An address in a name would differ between the processes that run the tests.
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_refused_before_any_training(arguments, error, match):
    model = linear_model(momentum_sgd())
    before = flat(model), vars(model.optimizer)["_learning_rate"], model.train_function
    # Without one, a range test would come first.
    no_rate = None if backends.BACKEND == "tensorflow" else 0.1
    with pytest.raises(error, match=match):
        fit(model, **{"max_lr": no_rate, **arguments})
    assert int(model.optimizer.iterations) == 0
    np.testing.assert_array_equal(flat(model), before[0])
    assert model.optimizer._learning_rate is before[1]
    assert model.train_function is before[2]


def test_a_model_that_cannot_train_is_refused():
    with pytest.raises(TypeError, match=r"`model` must be a compiled `keras.Model`.*Received"):
        fit(keras.layers.Dense(1))
    with pytest.raises(ValueError, match="must be compiled"):
        fit(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    unbuilt.compile(momentum_sgd(), "mse")
    with pytest.raises(ValueError, match=r"model\.build"):
        fit(unbuilt, max_lr=None)
    assert set(fit(unbuilt).history) == {"loss", "learning_rate", "momentum"}
