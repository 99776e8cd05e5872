"""Weights after 200 steps, against the optimizer's update in float64 NumPy."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests import backends
from tests.oracles import optimizers as oracle

STEPS, BATCH, HALF_CYCLE = 200, 8, 13
LOW, HIGH = 0.85, 0.95
RATE = {"sgd": 0.02, "nesterov": 0.02, "rmsprop": 0.002, "adam": 0.02, "adamw": 0.02, "nadam": 0.02}
RULES = {
    "sgd": (oracle.sgd, {}),
    "nesterov": (oracle.sgd, {"nesterov": True}),
    "rmsprop": (oracle.rmsprop, {}),
    "adam": (oracle.adam, {}),
    "adamw": (oracle.adam, {"weight_decay": 0.1}),
    "nadam": (oracle.nadam, {}),
}

rng = np.random.default_rng(4)
X = rng.normal(size=(STEPS * BATCH, 4)).astype("float32")
TRUE = np.array([1.5, -2.0, 1.0, 0.7])
Y = (X @ TRUE + 1.2 + 0.3 * rng.normal(size=len(X))).astype("float32")
START = np.array([0.4, 0.3, -0.6, 0.5, -0.3])


def optimizer(kind, **kwargs):
    rate = kc.schedules.Triangular(RATE[kind] / 10, RATE[kind], HALF_CYCLE)
    make = {
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=0.5, **kwargs),
        "nesterov": lambda: keras.optimizers.SGD(rate, momentum=0.5, nesterov=True, **kwargs),
        "rmsprop": lambda: keras.optimizers.RMSprop(rate, momentum=0.5, **kwargs),
        "adam": lambda: keras.optimizers.Adam(rate, **kwargs),
        "adamw": lambda: keras.optimizers.AdamW(rate, weight_decay=0.1, **kwargs),
        "nadam": lambda: keras.optimizers.Nadam(rate, **kwargs),
    }
    return make[kind]()


def height(step):
    place = step % (2 * HALF_CYCLE)
    return min(place, 2 * HALF_CYCLE - place) / HALF_CYCLE


def expected(kind, steps=STEPS, accumulate=1):
    rule, options = RULES[kind]
    return oracle.train(
        rule,
        START,
        zip(X[: steps * BATCH].reshape(steps, BATCH, 4), Y[: steps * BATCH].reshape(steps, BATCH)),
        rate=lambda t: RATE[kind] * (0.1 + 0.9 * height(t)),
        cycled=lambda t: HIGH - (HIGH - LOW) * height(t),
        accumulate=accumulate,
        **options,
    )


@keras.saving.register_keras_serializable(package="test_momentum_exactness")
def squared_errors(y, prediction):
    """Summed over the heads, so that each trains as if it were alone."""
    return keras.ops.sum(keras.ops.square(y - prediction), axis=-1)


def trained(kinds, wrap=lambda x: x, accumulate=None, steps=STEPS, **compile_arguments):
    """The weights of one head for each kind of optimizer, all trained in one `fit`."""
    x = keras.Input((4,))
    heads = [keras.layers.Dense(1, name=kind) for kind in kinds]
    outputs = [head(x) for head in heads]
    model = keras.Model(x, keras.layers.concatenate(outputs) if len(kinds) > 1 else outputs[0])
    for head in heads:
        head.set_weights([START[:4, None], START[4:]])
    groups = {k: optimizer(k, gradient_accumulation_steps=accumulate) for k in kinds}
    together = groups[kinds[0]]
    if len(kinds) > 1:
        together = keras.optimizers.MultiOptimizer(lambda v: groups[v.path.split("/")[0]])
    model.compile(wrap(together), squared_errors, **backends.compile_arguments(**compile_arguments))
    model.fit(
        X[: steps * BATCH],
        np.repeat(Y[: steps * BATCH, None], len(kinds), axis=1),
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=[kc.callbacks.CyclicalMomentum(LOW, HIGH)],
    )
    return {head.name: np.concatenate([w.ravel() for w in head.get_weights()]) for head in heads}


@pytest.mark.parametrize(
    "kind",
    [k if k in ("sgd", "adam") else pytest.param(k, marks=pytest.mark.slow) for k in RULES],
)
def test_each_optimizer(kind):
    (weights,) = trained([kind], steps_per_execution=7, jit_compile=True).values()
    np.testing.assert_allclose(weights, expected(kind), rtol=5e-5)


def test_run_eagerly():
    (weights,) = trained(["sgd"], run_eagerly=True).values()
    np.testing.assert_allclose(weights, expected("sgd"), rtol=5e-5)


SETTINGS = {
    "seven_at_once": {"steps_per_execution": 7, "jit_compile": False},
    "one_at_once_xla": {"steps_per_execution": 1, "jit_compile": True},
    "seven_at_once_xla": {"steps_per_execution": 7, "jit_compile": True},
    "accumulated": {"accumulate": 4, "steps_per_execution": 7},
    "accumulated_eagerly": {"accumulate": 4, "run_eagerly": True, "steps": 12},
    "loss_scale": {"wrap": keras.optimizers.LossScaleOptimizer, "jit_compile": False},
    "loss_scale_xla": {"wrap": keras.optimizers.LossScaleOptimizer, "jit_compile": True},
}


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with Keras 3.15")
@pytest.mark.parametrize("setting", SETTINGS)
def test_all_optimizers_as_groups(setting):
    arguments = SETTINGS[setting]
    kinds = list(RULES)
    if backends.BACKEND == "jax" and "wrap" in arguments:
        # Keras's LossScaleOptimizer leaves out a variable of Nadam, which JAX so never updates.
        kinds.remove("nadam")
    weights = trained(kinds, **arguments)
    for kind in kinds:
        reference = expected(kind, arguments.get("steps", STEPS), arguments.get("accumulate", 1))
        np.testing.assert_allclose(weights[kind], reference, rtol=5e-5, err_msg=kind)


def test_constant_momentum_would_be_seen():
    """The cycle matters: the oracle with its mean value is far away from the cycled weights."""
    for kind, (rule, options) in RULES.items():
        constant = oracle.train(
            rule,
            START,
            zip(X.reshape(STEPS, BATCH, 4), Y.reshape(STEPS, BATCH)),
            rate=lambda t, kind=kind: RATE[kind] * (0.1 + 0.9 * height(t)),
            cycled=lambda t: (HIGH + LOW) / 2,
            **options,
        )
        assert np.max(np.abs(constant / expected(kind) - 1)) > 1e-3
