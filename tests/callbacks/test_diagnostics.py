"""What LossDiagnostics finds in trainings with a fault, and that it is silent on sound ones."""

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_cyclic as kc
from keras_cyclic.callbacks._loss_rules import CYCLES, EPOCHS, FirstEpoch
from tests.backends import compile_arguments

SEEDS = range(3)


class Bench:
    """One compiled model for many trainings, each from new weights, without tracing anew."""

    def __init__(self, optimizer, hidden=0, features=4):
        layers = [keras.layers.Dense(hidden, "relu")] if hidden else []
        self.model = keras.Sequential(
            [keras.Input((features,)), *layers, keras.layers.Dense(1, name="out")]
        )
        self.model.compile(optimizer, "mse", **compile_arguments(jit_compile=False))
        optimizer.build(self.model.trainable_variables)
        self.plain = [np.array(value) for value in optimizer.variables]
        self.features = features

    def fit(
        self,
        seed,
        rate=None,
        samples=128,
        noise=0.5,
        validate=False,
        callbacks=(),
        batch_size=16,
        **kwargs,
    ):
        keras.utils.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        for weight in self.model.trainable_variables:
            scale = 1 / math.sqrt(weight.shape[0]) if len(weight.shape) > 1 else 0
            weight.assign(scale * rng.normal(size=weight.shape))
        for variable, value in zip(self.model.optimizer.variables, self.plain):
            variable.assign(value)
        if rate is not None:
            self.model.optimizer.learning_rate = rate
        slope = rng.normal(size=self.features)
        x = rng.normal(size=(samples, self.features))
        y = x @ slope + noise * rng.normal(size=samples)
        if validate:
            held_out = rng.normal(size=(128, self.features))
            expected = held_out @ slope + noise * rng.normal(size=128)
            kwargs["validation_data"] = (held_out, expected)
        diagnostics = kc.callbacks.LossDiagnostics(verbose=kwargs.pop("verbose", 0))
        # With a seed set, `fit` on arrays has the same order in each epoch, and hides the noise.
        data = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y.astype("float32")))
        data = data.shuffle(samples, seed=seed).batch(batch_size)
        self.history = self.model.fit(
            data, verbose=0, shuffle=False, callbacks=[diagnostics, *callbacks], **kwargs
        )
        return diagnostics.findings


@pytest.fixture(scope="module")
def sgd():
    return Bench(keras.optimizers.SGD(0.1))


@pytest.fixture(scope="module")
def adam():
    return Bench(keras.optimizers.Adam(0.01), hidden=100, features=10)


def kinds(findings):
    return {finding.kind for finding in findings}


# Trainings with a fault.


def test_a_diverging_training_is_told_the_rate_and_its_tenth(sgd):
    for seed in SEEDS:
        findings = sgd.fit(seed, 3.0, batch_size=16, epochs=8)
        assert kinds(findings) <= {"rising", "not_finite"}
        assert findings[0].kind == "rising"
        assert findings[0].epoch == 0
        assert "from 3 to 0.3" in findings[0].message
        assert f"{sgd.history.history['loss'][0]:.4g}" in findings[0].message


def test_a_training_that_rises_over_several_epochs_is_found(sgd):
    for seed in SEEDS:
        findings = sgd.fit(seed, 1.1, batch_size=128, epochs=8)
        assert kinds(findings) == {"rising"}
        losses = sgd.history.history["loss"]
        assert losses[findings[0].epoch] == findings[0].numbers["loss"] > min(losses)


def test_a_training_that_hardly_moves_is_too_slow(sgd):
    for seed in SEEDS:
        findings = sgd.fit(seed, 1e-6, batch_size=16, epochs=14)
        assert [(f.kind, f.epoch) for f in findings] == [("too_slow", 10)]
        assert "from 1e-06 to 1e-05" in findings[0].message


def test_a_high_rate_with_tiny_batches_jumps():
    bench = Bench(keras.optimizers.SGD(1.0, clipnorm=1.0))
    for seed in SEEDS:
        findings = bench.fit(seed, samples=24, batch_size=1, epochs=13)
        assert kinds(findings) == {"jumping"}, bench.history.history["loss"]
        last = bench.history.history["loss"][: findings[0].epoch + 1][-9:]
        assert findings[0].numbers["highest"] == max(last)
        assert f"between {min(last):.4g} and {max(last):.4g}" in findings[0].message


def test_a_large_net_on_few_noisy_samples_over_fits(adam):
    for seed in SEEDS:
        findings = adam.fit(
            seed, 0.01, samples=20, noise=5.0, batch_size=10, epochs=30, validate=True
        )
        assert kinds(findings) == {"overfitting"}
        validation = adam.history.history["val_loss"]
        assert findings[0].numbers["best"] == min(validation[: findings[0].epoch])


def test_cycles_that_hardly_move_or_diverge_are_judged_at_their_ends():
    slow = Bench(keras.optimizers.SGD(kc.schedules.Triangular(1e-7, 1e-6, 12)))
    findings = slow.fit(0, batch_size=16, epochs=16)
    # Cycles of 24 steps, epochs of 8: ends at epochs 2, 5, 8, 11.
    assert [(f.kind, f.epoch) for f in findings] == [("too_slow", 11)]
    assert "from 1e-06 to 1e-05" in findings[0].message


# Sound trainings.


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_a_sound_rate_is_silent_also_long_after_it_has_converged(sgd, rate):
    for seed in SEEDS:
        assert sgd.fit(seed, rate, batch_size=16, epochs=20) == []


def test_a_training_that_converges_within_its_first_epoch_is_silent(sgd):
    for seed in SEEDS:
        assert sgd.fit(seed, 0.1, samples=256, batch_size=4, epochs=12) == []


@pytest.mark.parametrize(
    "schedule",
    [
        kc.schedules.Triangular(0.005, 0.3, 16),
        kc.schedules.CosineAnnealingWarmRestarts(0.3, 24, 2),
        kc.schedules.OneCycle(0.3, 160),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_cycles_are_silent(schedule):
    bench = Bench(keras.optimizers.SGD(schedule))
    for seed in range(2):
        assert bench.fit(seed, batch_size=16, epochs=20, validate=True) == []


@pytest.mark.slow
def test_digits_are_silent():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        diagnostics = kc.callbacks.LossDiagnostics()
        model.fit(x / 16, y, validation_split=0.3, epochs=20, verbose=0, callbacks=[diagnostics])
        assert diagnostics.findings == []


# Losses that are not finite.


@pytest.mark.parametrize("raise_error", [False, True])
def test_nan_in_the_first_epoch_is_said_although_the_training_is_ended(sgd, raise_error, capsys):
    try:
        stop = keras.callbacks.TerminateOnNaN(**({"raise_error": True} if raise_error else {}))
    except TypeError:
        pytest.skip("Keras before 3.15 has no raise_error")
    if raise_error:
        with pytest.raises(RuntimeError):
            sgd.fit(0, 1e4, samples=256, batch_size=16, epochs=3, verbose=1, callbacks=[stop])
    else:
        findings = sgd.fit(
            0, 1e4, samples=256, batch_size=16, epochs=3, verbose=1, callbacks=[stop]
        )
        assert [(f.kind, f.epoch) for f in findings] == [("not_finite", 0)]
    printed = capsys.readouterr().out
    assert printed.count("Divide it by 10") == 1
    assert "from 1e+04 to 1000" in printed
    assert "Epoch 1: The training loss is" in printed


def test_nan_before_the_first_step_is_not_blamed_on_the_rate(sgd):
    findings = sgd.fit(0, 0.1, noise=math.nan, batch_size=16, epochs=2)
    assert [(f.kind, f.epoch) for f in findings] == [("not_finite", 0)]
    assert "before the first step" in findings[0].message


def test_a_validation_loss_that_is_not_finite_is_said_once(sgd):
    broken = np.full((8, 4), np.nan, "float32"), np.zeros((8, 1), "float32")
    findings = sgd.fit(0, 0.1, batch_size=64, epochs=3, validation_data=broken)
    assert [(f.kind, f.epoch) for f in findings] == [("not_finite", 0)]
    assert "The validation loss is nan" in findings[0].message
    assert "from 0.1 to 0.01" in findings[0].message


# Written curves.


def found(training, validation=None, pace=EPOCHS, first=None, untrained=True, **thresholds):
    diagnosis = kc.callbacks.LossDiagnostics(**thresholds)._new_diagnosis(pace, untrained)
    diagnosis.first = first or FirstEpoch()
    validation = [math.nan] * len(training) if validation is None else validation
    return [
        (kind, epoch)
        for epoch, losses in enumerate(zip(training, validation))
        for kind, _ in diagnosis.add(epoch, *losses)
    ]


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(size=count)


T = np.arange(40.0)
FALL = np.exp(-T / 4)
CURVES = {
    "fall": (FALL + 0.005 * noise(40), None, []),
    "rise": (np.concatenate([FALL[:20], FALL[:20][::-1]]) + 0.005 * noise(40), None, ["rising"]),
    "jump": (FALL + np.where(T > 8, 0.3 * (T % 2), 0) + 0.01 * noise(40), None, ["jumping"]),
    "one spike": (FALL + 2.0 * (T == 20), None, []),
    "slow": (1 - 1e-4 * T, None, ["too_slow"]),
    "constant": (np.ones(40), None, ["too_slow"]),
    "over-fitting": (FALL, FALL + 0.01 * T + 0.005 * noise(40), ["overfitting"]),
    "both rise": (0.5 + 0 * T, 0.5 + 0.01 * T, ["too_slow"]),
    "validation flat": (FALL, 0.3 + 0.7 * FALL + 0.02 * noise(40), []),
    "validated at times": (FALL, np.where(T % 2, FALL + 0.01 * T, np.nan), ["overfitting"]),
}


@pytest.mark.parametrize("name", CURVES)
def test_written_curves(name):
    training, validation, expected = CURVES[name]
    assert [kind for kind, _ in found(training, validation)] == expected


@pytest.mark.parametrize("name", ["fall", "rise", "jump", "one spike", "over-fitting"])
@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (1.0, -50.0), (1e4, 1e5)])
def test_scale_and_offset_change_nothing(name, scale, offset):
    training, validation, _ = CURVES[name]
    moved = None if validation is None else scale * validation + offset
    assert found(scale * training + offset, moved) == found(training, validation)


def test_a_finding_is_said_again_only_after_it_was_gone():
    fall, up, down = np.exp(-T[:12] / 3), np.full(8, 0.9), np.full(12, 0.01)
    assert [kind for kind, _ in found(np.concatenate([fall, up, up]))] == ["rising"]
    assert found(np.concatenate([fall, up, down[:4], up])) == [("rising", 14)]
    assert found(np.concatenate([fall, up, down, up])) == [("rising", 14), ("rising", 34)]


def test_cycles_need_fewer_judgements():
    assert found([1.0, 0.3, 0.2, 0.15, 0.12, 0.6], pace=CYCLES) == [("rising", 5)]
    assert found([1.0, 0.3, 0.2, 0.15, 0.12, 0.6]) == []
    assert found([1.0, 0.3, 0.1], [1.0, 0.5, 0.7], CYCLES) == [("overfitting", 2)]


def test_trained_models_are_not_called_too_slow():
    assert found(np.ones(40), untrained=False) == []
    fell = FirstEpoch.of(np.concatenate([np.linspace(9, 1, 20), np.full(80, 1.0)]))
    assert found(np.ones(40), first=fell) == []


def test_a_training_that_never_gets_back_to_its_first_batch_rises():
    first = FirstEpoch.of(np.concatenate([[2.4], 2.5 + 6 * np.abs(noise(30))]))
    assert first.rose
    assert not first.exploded
    assert found([9.0, 7.0, 8.0, 7.5, 7.2, 8.1], first=first) == [("rising", 3)]
    assert found([9.0, 2.5, 2.4, 2.6, 2.5, 2.4], first=first) == []


def test_an_explosion_is_said_before_a_third_epoch_confirms_it():
    assert found([1.0, 1e3, 1e8]) == [("rising", 2)]
    assert found([1.0, 0.3, 0.1, 3.0, 0.1, 0.08]) == []


def test_noise_after_a_fall_within_the_first_epoch_is_no_rise():
    batches = np.concatenate([np.linspace(1.05, 1.0, 20), 1 + 0.2 * noise(80)])
    losses = 1 + 0.02 * noise(60, seed=3)
    assert "rising" not in dict(found(losses, first=FirstEpoch.of(batches)))


def test_first_epochs():
    assert FirstEpoch.of([1.0, 2.0]) == FirstEpoch()
    flat = FirstEpoch.of(1 + 0.1 * noise(100))
    assert not flat.fell
    assert not flat.exploded
    assert FirstEpoch.of(np.geomspace(1, 1e6, 30)).exploded
    assert FirstEpoch.of(np.linspace(3, 1, 32)).fell
    assert FirstEpoch.of(np.concatenate([[2.0], np.full(30, 50.0)])).exploded


# Arguments.


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"patience": 0}, ValueError),
        ({"max_rise": -1.0}, ValueError),
        ({"min_fall": "a"}, TypeError),
        ({"schedule": 0.1}, TypeError),
    ],
)
def test_bad_arguments(arguments, error):
    with pytest.raises(error, match=f"`{next(iter(arguments))}`"):
        kc.callbacks.LossDiagnostics(**arguments)


def test_rates_that_are_not_one_variable():
    x, y = np.ones((64, 2)), np.ones((64, 1))
    optimizers = [
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(lambda: 1e-7)),
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(1e-7, 1000)),
    ]
    if hasattr(keras.optimizers, "MultiOptimizer"):
        groups = {".*kernel": keras.optimizers.SGD(1e-7)}
        optimizers.append(
            keras.optimizers.MultiOptimizer(
                keras.optimizers.OptimizerMap(keras.optimizers.SGD(2e-7), groups)
            )
        )
    for optimizer in optimizers:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(optimizer, "mse", **compile_arguments(jit_compile=False))
        diagnostics = kc.callbacks.LossDiagnostics(patience=4)
        model.fit(x, y, epochs=6, verbose=0, callbacks=[diagnostics])
        assert kinds(diagnostics.findings) == {"too_slow"}
        assert re.search(
            r"from (1e-07|9\.99\de-08) to (1e-06|9\.99\de-07)", diagnostics.findings[0].message
        )
