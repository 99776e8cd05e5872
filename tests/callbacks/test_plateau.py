"""ReduceLROnPlateau against Keras's own, and on schedules against the rates of every step."""

import contextlib
import importlib.util
import io
import logging
import pathlib
import types
import unittest
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.src.utils import io_utils

import keras_cyclic as kc
from tests.backends import BACKEND
from tests.callbacks.seen_rates import Calls, build, seen, train

S = kc.schedules
ReduceLROnPlateau = kc.callbacks.ReduceLROnPlateau


def reductions(values, patience, cooldown=0, min_delta=0.0, judged=None):
    """After which epochs Keras's documented rule reduces, lower values being better.

    `judged` are the epochs that count; all, if it is not given.
    """
    best, wait, resting, reduced = np.inf, 0, 0, []
    for epoch, value in enumerate(values):
        if value is None or (judged is not None and epoch not in judged):
            continue
        if resting:
            resting -= 1
            wait = 0
        if value < best - min_delta:
            best, wait = value, 0
        elif not resting:
            wait += 1
            if wait >= patience:
                reduced.append(epoch)
                wait, resting = 0, cooldown
    return reduced


class SideBySide:
    """Keras's callback and ours, each with a model of its own, which are never trained here."""

    def __init__(self):
        self.models = [self._model(), self._model()]

    def _model(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=["accuracy"])
        # Keras finds a metric's direction once it has been used.
        model.evaluate(np.zeros((1, 1)), np.zeros((1, 1)), verbose=0)
        return model

    def check(self, name, values, arguments):
        classes = (keras.callbacks.ReduceLROnPlateau, ReduceLROnPlateau)
        theirs, ours = (
            self._run(cls(name, **arguments), model, values)
            for cls, model in zip(classes, self.models)
        )
        assert ours == theirs

    def _run(self, callback, model, values):
        model.optimizer.learning_rate = 0.1
        callback.set_model(model)
        callback.on_train_begin()
        seen = []
        for epoch, value in enumerate(values):
            logs = {"loss": 1.0}
            if value is not None:
                logs[callback.monitor] = value
            with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                callback.on_epoch_end(epoch, logs)
            state = (callback.best, callback.wait, callback.cooldown_counter)
            rate = float(model.optimizer.learning_rate)
            seen.append((*state, callback.in_cooldown(), rate, logs, printed.getvalue()))
        return repr(seen)


SIDE_BY_SIDE = SideBySide()
VALUES = st.one_of(
    st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.3001, 0.3002, 1.0, 1e30, np.inf, -np.inf, None]),
    st.floats(-2.0, 2.0),
)


@given(
    values=st.lists(st.one_of(VALUES, st.just(np.nan)), min_size=1, max_size=14),
    name=st.sampled_from(["val_loss", "loss", "val_accuracy"]),
    mode=st.sampled_from(["auto", "min", "max"]),
    factor=st.floats(0.01, 0.99),
    patience=st.integers(0, 3),
    min_delta=st.sampled_from([0.0, 1e-4, 0.15]),
    cooldown=st.integers(0, 3),
    min_lr=st.sampled_from([0.0, 1e-3, 0.03, 0.1, 0.2]),
)
def test_plain_rate_is_keras_epoch_by_epoch(values, name, **arguments):
    # A first value of NaN is Keras's best for ever, and never ours.
    first = next((i for i, value in enumerate(values) if value is not None), 0)
    while first < len(values) and values[first] is not None and np.isnan(values[first]):
        values[first] = 0.2
    SIDE_BY_SIDE.check(name, values, {**arguments, "verbose": 1})


def test_constructor_is_keras():
    ours, theirs = ReduceLROnPlateau(), keras.callbacks.ReduceLROnPlateau()
    for name in ("monitor", "factor", "patience", "verbose", "mode", "min_delta", "min_lr"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.cooldown == theirs.cooldown


def test_nan_is_never_an_improvement():
    callback = ReduceLROnPlateau(patience=2)
    model = SIDE_BY_SIDE.models[1]
    model.optimizer.learning_rate = 0.1
    callback.set_model(model)
    callback.on_train_begin()
    seen = []
    for epoch, value in enumerate([np.nan, np.nan, 5.0, np.nan, 4.0, np.float32("nan"), np.nan]):
        callback.on_epoch_end(epoch, {"val_loss": value})
        seen.append((callback.best, callback.wait, round(float(model.optimizer.learning_rate), 6)))
    assert seen == [
        (None, 1, 0.1),
        (None, 0, 0.01),
        (5.0, 0, 0.01),
        (5.0, 1, 0.01),
        (4.0, 0, 0.01),
        (4.0, 1, 0.01),
        (4.0, 0, 0.001),
    ]


@pytest.fixture
def keras_tests(monkeypatch):
    """Keras's own tests of its callback, with ours in its place."""
    path = pathlib.Path(keras.src.callbacks.__file__).with_name("reduce_lr_on_plateau_test.py")
    if not path.exists():
        pytest.skip("this Keras comes without its tests")
    spec = importlib.util.spec_from_file_location("keras_plateau_tests", path)
    module = importlib.util.module_from_spec(spec)
    # Keras's marks are not ours.
    with monkeypatch.context() as patch:
        patch.setattr(pytest, "mark", types.SimpleNamespace(requires_trainable_backend=lambda f: f))
        spec.loader.exec_module(module)
    module.callbacks = types.SimpleNamespace(ReduceLROnPlateau=ReduceLROnPlateau)
    interactive, level = io_utils.is_interactive_logging_enabled(), logging.getLogger().level
    yield module.ReduceLROnPlateauTest
    (io_utils.enable_interactive_logging if interactive else io_utils.disable_interactive_logging)()
    io_utils.set_logging_verbosity(logging.getLevelName(level))


def test_keras_own_tests(keras_tests):
    lifted = "test_throws_when_optimizer_has_schedule"
    names = unittest.defaultTestLoader.getTestCaseNames(keras_tests)
    assert lifted in names
    result = unittest.TestResult()
    with contextlib.redirect_stdout(io.StringIO()):
        unittest.TestSuite(map(keras_tests, set(names) - {lifted})).run(result)
        assert result.testsRun >= 4
        assert not result.errors + result.failures + result.skipped, result
        # Where Keras's raises for a schedule, ours trains: the test misses its TypeError.
        result = unittest.TestResult()
        keras_tests(lifted).run(result)
    ((_, failure),) = result.failures
    assert "TypeError not raised" in failure
    assert not result.errors


def triangular(step, low=0.04, high=0.2, up=3, down=4):
    place = step % (up + down)
    return low + (high - low) * (place / up if place < up else (up + down - place) / down)


FOLLOWED = keras.Variable(0.08, name="followed")

SCHEDULES = {
    "triangular": (S.Triangular(0.04, 0.2, 3, 4), triangular, {}),
    "keras": (
        keras.optimizers.schedules.CosineDecayRestarts(0.2, 6, t_mul=1.0),
        lambda t: 0.1 * (1 + np.cos(np.pi * (t % 6) / 6)),
        {"steps_per_execution": 4, "jit_compile": True},
    ),
    "function": (lambda: 2.0 * FOLLOWED, lambda t: 0.16, {"jit_compile": True}),
    "product": (
        S.Triangular(0.04, 0.2, 3, 4) * S.StepDecay(1.0, 9, 0.8) * 1.5,
        lambda t: triangular(t) * 0.8 ** (t // 9) * 1.5,
        {"steps_per_execution": 4},
    ),
    "warmup": (
        S.Warmup(S.Triangular(0.04, 0.2, 3, 4), 5),
        lambda t: 0.04 * t / 5 if t < 5 else triangular(t - 5),
        {},
    ),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_schedule_keeps_its_shape_at_every_step(case):
    rate, oracle, compile_arguments = SCHEDULES[case]
    steps, values, min_lr = 32, [5.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, np.nan], 0.03
    optimizer = keras.optimizers.SGD(rate)
    if case == "warmup":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    traces = []
    model = build(optimizer, steps, traces=traces, **compile_arguments)
    watch = Calls(lambda: len(traces))
    reduce_lr = ReduceLROnPlateau(patience=1, factor=0.5, min_lr=min_lr)
    history = train(model, values, [reduce_lr, watch], 4).history
    reduced = reductions(values, patience=1)
    scales = [0.5 ** sum(epoch < step // 4 for epoch in reduced) for step in range(steps + 1)]
    plain = np.array([oracle(step) for step in range(steps + 1)])
    expected = np.maximum(plain * scales, np.minimum(plain, min_lr))
    np.testing.assert_allclose(seen(model), expected[:-1], rtol=2e-6, atol=1e-8)
    # Keras's callback logs the rate of the next step, before it reduces.
    before = np.append(scales[0], scales[:-1])
    logged = np.maximum(plain * before, np.minimum(plain, min_lr))[4::4]
    np.testing.assert_allclose(history["learning_rate"], logged, rtol=2e-6, atol=1e-8)
    if BACKEND == "tensorflow":
        assert set(watch.watched) == {1}


def test_groups(capsys):
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("this Keras has no MultiOptimizer")
    groups = {
        "plain.*": keras.optimizers.SGD(0.2, name="slow"),
        "cyclic.*": keras.optimizers.SGD(S.Triangular(0.04, 0.2, 3, 4), name="fast"),
    }
    unused = keras.optimizers.SGD(S.Triangular(0.0, 0.2, 3, 4), name="unused")
    optimizer = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(unused, groups))
    model = build(optimizer, 12, groups=("plain", "cyclic"))
    reduce_lr = ReduceLROnPlateau(patience=1, factor=0.1, min_lr=0.05, verbose=1)
    history = train(model, [1.0, 1.0, 1.0], [reduce_lr], 4).history
    rates = np.array([triangular(t) for t in range(12)])
    scaled = np.maximum(rates[8:] * 0.1, np.minimum(rates[8:], 0.05))
    expected = [0.2] * 8 + [0.05] * 4 + [*rates[:8], *scaled]
    np.testing.assert_allclose(seen(model), expected, rtol=2e-6)
    np.testing.assert_allclose(history["learning_rate_slow"], [0.2, 0.2, 0.05], rtol=1e-6)
    np.testing.assert_allclose(history["learning_rate_fast"], [rates[4], rates[8], 0.05], rtol=1e-6)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len([line for line in lines if line.startswith("Epoch 2:")]) == 3
    assert "Epoch 2: ReduceLROnPlateau reducing slow learning rate to 0.05." in lines


def test_judged_at_cycle_ends_only():
    # Cycles of 7 steps end in epochs 2, 4, 6, 7 and 9 of 4 steps, counted from 1. What is worse
    # within a cycle does not count, and neither does what is better.
    values = [5.0, 4.0, 9.0, 4.0, 0.0, 3.0, 3.0, None, None, 3.0, 9.0]
    judged = [1, 3, 5, 6, 9]
    reduced = reductions(values, patience=1, judged=judged)
    assert reduced == [3, 6, 9]
    model = build(keras.optimizers.SGD(S.Triangular(0.04, 0.2, 3, 4)), 44)
    train(model, values, [ReduceLROnPlateau(patience=1, factor=0.5, at_cycle_ends=True)], 4)
    scales = [0.5 ** sum(epoch < step // 4 for epoch in reduced) for step in range(44)]
    expected = [triangular(step) * scale for step, scale in enumerate(scales)]
    np.testing.assert_allclose(seen(model), expected, rtol=2e-6)


def drive(callback, model, values, steps_per_epoch):
    """What `fit` does, without the training."""
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        for batch in range(steps_per_epoch):
            callback.on_train_batch_begin(batch)
            model.optimizer.iterations.assign_add(1)
            callback.on_train_batch_end(batch, {})
        callback.on_epoch_end(epoch, {} if value is None else {callback.monitor: value})


def test_min_lr_looks_at_the_whole_cycle():
    # The last epoch of each cycle lies below `min_lr`; its peak does not.
    model = build(keras.optimizers.SGD(S.Triangular(0.0, 0.1, 8, 8)), 1)
    callback = ReduceLROnPlateau(patience=1, factor=0.5, min_lr=0.06, at_cycle_ends=True)
    drive(callback, model, [1.0] * 8, 4)
    assert model.optimizer._learning_rate.scale == 0.5


def test_min_lr_of_two_callbacks_does_not_compile_the_step_again():
    traces = []
    model = build(keras.optimizers.SGD(S.Triangular(0.04, 0.2, 3, 4)), 12, traces=traces)
    callbacks = [
        ReduceLROnPlateau(patience=1, factor=0.5, min_lr=min_lr) for min_lr in (0.02, 0.03)
    ]
    watch = Calls(lambda: len(traces))
    train(model, [1.0, 1.0, 1.0], [*callbacks, watch], 4)
    if BACKEND == "tensorflow":
        assert set(watch.watched) == {1}
    expected = [triangular(t) * (0.25 if t >= 8 else 1.0) for t in range(12)]
    np.testing.assert_allclose(seen(model), np.maximum(expected, 0.03), rtol=2e-6)


@pytest.mark.parametrize(
    "rate", [0.1, S.LinearDecay(0.1, 10), lambda: 0.1, keras.optimizers.schedules.CosineDecay(1, 2)]
)
def test_cycles_that_cannot_be_known(rate):
    model = build(keras.optimizers.SGD(rate), 4)
    calls = Calls()
    with pytest.raises(ValueError, match="ReduceLROnPlateau waits for the ends of cycles"):
        train(model, [1.0], [calls, ReduceLROnPlateau(at_cycle_ends=True)], 4)
    assert calls.batches == 0
    assert not seen(model).any()


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        *((ValueError, {"factor": bad}) for bad in (0, 1, 1.5, -0.1, np.nan)),
        (TypeError, {"factor": "0.5"}),
        *((ValueError, {name: -1}) for name in ("patience", "cooldown", "min_delta", "min_lr")),
        *((ValueError, {name: 1.5}) for name in ("patience", "cooldown")),
        *((ValueError, {name: np.nan}) for name in ("min_delta", "min_lr", "patience")),
        (ValueError, {"mode": "down"}),
        (TypeError, {"mode": None}),
        (TypeError, {"monitor": None}),
        (TypeError, {"at_cycle_ends": 1}),
    ],
)
def test_bad_input(error, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(error, match=f"Argument `{name}`") as caught:
        ReduceLROnPlateau(**arguments)
    assert f"{name}={value!r}" in str(caught.value)


def test_a_monitor_that_is_never_logged_warns_once():
    callback = ReduceLROnPlateau("val_los", mode="min")
    model = SIDE_BY_SIDE.models[1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            drive(callback, model, [None, None], 1)
    (message,) = (str(each.message) for each in caught if "monitors" in str(each.message))
    assert "`val_los`" in message
    assert message.endswith("Logged are: learning_rate.")


def test_unknown_direction_is_refused_as_by_keras():
    model = SIDE_BY_SIDE.models[1]
    messages = []
    for cls in (keras.callbacks.ReduceLROnPlateau, ReduceLROnPlateau):
        callback = cls("val_quality")
        callback.set_model(model)
        callback.on_train_begin()
        with pytest.raises(ValueError, match="val_quality") as caught:
            callback.on_epoch_end(0, {"val_quality": 1.0})
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_used_again_and_made_again():
    callback = ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.1)
    models = [build(keras.optimizers.SGD(S.Constant(0.2)), 1) for _ in range(2)]
    drive(callback, models[0], [1.0, 0.95], 1)
    made_again = type(callback).from_config(callback.get_config())
    assert made_again.get_config() == callback.get_config()
    # A second fit, and a second model, begin with a new best value.
    for model in models:
        drive(callback, model, [9.0, 8.95], 1)
    drive(made_again, models[1], [9.0, 8.85, 8.8], 1)
    scales = [model.optimizer._learning_rate.scale for model in models]
    assert scales == [0.25, 0.25]


def test_twice_in_one_list_counts_twice_as_with_keras():
    rates = []
    for cls in (keras.callbacks.ReduceLROnPlateau, ReduceLROnPlateau):
        model = build(keras.optimizers.SGD(0.2), 6)
        callback = cls("val_loss", patience=3, factor=0.5)
        rates.append(train(model, [1.0] * 3, [callback, callback], 2).history["learning_rate"])
    assert rates[0] == rates[1]
