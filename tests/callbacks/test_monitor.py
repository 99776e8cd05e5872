"""LearningRateMonitor, read back from History, the progress bar, CSVLogger and TensorBoard."""

import collections
import csv
import importlib.util
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import steps_at_once

# TensorFlow no longer brings the package that Keras's callback writes with.
HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def triangle(steps, low, high, half):
    """A triangular wave of `half` steps up and as many down, from its definition."""
    phase = np.asarray(steps, "float64") % (2 * half)
    return low + (high - low) * np.minimum(phase, 2 * half - phase) / half


def compiled(optimizer, layers=1, **kwargs):
    model = keras.Sequential([keras.Input((2,))])
    for i in range(layers):
        model.add(keras.layers.Dense(1, name=f"layer_{i}"))
    model.compile(optimizer, "mse", **steps_at_once(kwargs.pop("steps_per_execution", 1)), **kwargs)
    return model


def fit(model, callbacks, steps=5, epochs=2, **kwargs):
    x, y = np.full((steps, 2), 0.1), np.full((steps, 1), 0.1)
    options = {"batch_size": 1, "shuffle": False, "verbose": 0} | kwargs
    return model.fit(x, y, epochs=epochs, callbacks=callbacks, **options).history


def events(directory):
    """The scalars in the event files of a directory: tag -> list of (step, value)."""
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    found = collections.defaultdict(list)
    for path in sorted(directory.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars" or not value.HasField(
                    "metadata"
                ):
                    found[value.tag].append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


def read_csv(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_reaches_all_that_read_logs_from_any_place(first, tmp_path, capsys):
    rate = kc.schedules.Triangular(0.01, 0.05, 4)
    model = compiled(keras.optimizers.SGD(rate, momentum=0.9), steps_per_execution=2)
    monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    batches = []
    others = [
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        *([keras.callbacks.TensorBoard(tmp_path / "log")] if HAS_TENSORBOARD else []),
        kc.callbacks.CyclicalMomentum(0.8, 0.9),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: batches.append(logs)),
    ]
    callbacks = [monitor, *others] if first else [*others, monitor]
    data = np.ones((2, 2)), np.ones((2, 1))
    history = fit(model, callbacks, verbose=1, validation_data=data)

    steps = np.arange(10)
    rates, momenta = triangle(steps, 0.01, 0.05, 4), 0.9 - triangle(steps, 0.0, 0.1, 4)
    at_ends = [5, 10]
    expected = {
        "learning_rate": triangle(at_ends, 0.01, 0.05, 4),
        "momentum": 0.9 - triangle(at_ends, 0.0, 0.1, 4),
    }
    logged = read_csv(tmp_path / "log.csv")
    for name, values in expected.items():
        assert history[name] == pytest.approx(values, abs=1e-7)
        assert logged[name] == pytest.approx(values, abs=1e-7)
    printed = capsys.readouterr().out
    # In the bar as it begins (later on it may be too early to redraw it) and as it ends.
    for shown in (rates[1], momenta[1], *expected["learning_rate"], *expected["momentum"]):
        assert f": {shown:.4f}" in printed

    # Five steps by two: the last execution of an epoch has one step only.
    assert [logs["learning_rate"] for logs in batches] == pytest.approx(rates[[1, 3, 4, 6, 8, 9]])
    assert [logs["momentum"] for logs in batches] == pytest.approx(momenta[[1, 3, 4, 6, 8, 9]])
    assert set(monitor.history) == {"step", "learning_rate", "momentum"}
    np.testing.assert_array_equal(monitor.history["step"], steps)
    np.testing.assert_allclose(monitor.history["learning_rate"], rates, atol=1e-7)
    np.testing.assert_allclose(monitor.history["momentum"], momenta, atol=1e-7)
    if not HAS_TENSORBOARD:
        pytest.skip("the rest needs tensorboard, which is not installed")
    scalars = events(tmp_path / "log" / "train")
    for name, values in expected.items():
        assert scalars[f"epoch_{name}"] == [(i, pytest.approx(values[i])) for i in (0, 1)]
        counted, values = zip(*scalars[f"batch_{name}"])
        assert counted == tuple(steps + 1)
        np.testing.assert_allclose(values, monitor.history[name], atol=1e-7)
    assert set(scalars) == {
        "epoch_loss",
        *(f"{when}_{name}" for when in ("epoch", "batch") for name in expected),
    }


class Halve(keras.callbacks.Callback):
    """Halves a plain rate after the third of four executions, and once more between epochs."""

    def __init__(self, optimizer):
        super().__init__()
        self.optimizer = optimizer

    def halve(self):
        self.optimizer.learning_rate = float(self.optimizer.learning_rate) / 2

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            self.halve()

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            self.halve()


def test_groups_of_every_kind_of_rate(tmp_path):
    """A plain number that changes on the way, a schedule of Keras, a function, a shared name."""
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("this Keras has no MultiOptimizer")
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    variable = keras.Variable(0.25)
    plain = keras.optimizers.SGD(0.5, 0.5, name="plain")
    optimizers = {
        ".*layer_0/.*": plain,
        ".*layer_1/.*": keras.optimizers.SGD(decay, 0.5, name="shared"),
        ".*layer_2/.*": keras.optimizers.SGD(lambda: variable, 0.5, name="shared"),
        "nothing/.*": keras.optimizers.SGD(name="idle"),
    }
    default = keras.optimizers.SGD(1.0, name="unused")
    multi = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(default, optimizers))
    model = compiled(multi, layers=3)
    # The second group has been trained before.
    optimizers[".*layer_1/.*"]._iterations.assign(20)
    monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    momentum = kc.callbacks.HyperparameterSchedule("momentum", kc.schedules.LinearDecay(0.8, 8))
    board = [keras.callbacks.TensorBoard(tmp_path, update_freq=1)] if HAS_TENSORBOARD else []
    history = fit(model, [*board, Halve(plain), momentum, monitor], steps=4)

    t = np.arange(8)
    expected = {
        "learning_rate_plain": [0.5] * 3 + [0.25] + [0.125] * 3 + [0.0625],
        "learning_rate_shared_group_1": 0.1 * 0.5 ** ((t + 20) / 10),
        "learning_rate_shared": [0.25] * 8,
        "momentum_plain": 0.8 * (1 - t / 8),
        "momentum_shared": 0.8 * (1 - t / 8),
        "momentum_shared_group_1": 0.8 * np.maximum(1 - (t + 20) / 8, 0),
    }
    assert set(monitor.history) == {"step", *expected}
    assert set(history) == {"loss", *expected}
    for name, values in expected.items():
        np.testing.assert_allclose(monitor.history[name], values, atol=1e-7)
    assert history["learning_rate_shared_group_1"] == pytest.approx(
        [0.1 * 0.5 ** ((t + 20) / 10) for t in (4, 8)]
    )
    assert history["learning_rate_plain"] == [0.25, 0.0625]
    if not HAS_TENSORBOARD:
        pytest.skip("the rest needs tensorboard, which is not installed")
    scalars = events(tmp_path / "train")
    for name, values in expected.items():
        # Keras's callback writes the batches itself here, and nothing is written twice.
        assert scalars[f"batch_{name}"] == [
            (i + 1, pytest.approx(values[i], abs=1e-7)) for i in range(8)
        ]
        assert [step for step, _ in scalars[f"epoch_{name}"]] == [0, 1]
    # What Keras writes by itself under the shared name.
    assert [value for _, value in scalars["epoch_learning_rate_shared"]] == [0.25, 0.25]


@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_only_steps_that_the_optimizer_took_count(steps_per_execution):
    """A `LossScaleOptimizer` skips a batch that is not finite; accumulation takes every one."""
    rate = kc.schedules.Triangular(0.01, 0.05, 3)
    inner = keras.optimizers.SGD(rate, gradient_accumulation_steps=2)
    model = compiled(
        keras.optimizers.LossScaleOptimizer(inner), steps_per_execution=steps_per_execution
    )
    x, y = np.full((8, 2), 0.1), np.full((8, 1), 0.1)
    x[[0, 5]] = np.inf
    monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    batches = []
    read = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda _, logs: batches.append(logs["learning_rate"])
    )
    history = model.fit(
        x, y, batch_size=1, epochs=2, shuffle=False, verbose=0, callbacks=[read, monitor]
    )
    assert history.history["learning_rate"] == pytest.approx(triangle([6, 12], 0.01, 0.05, 3))
    np.testing.assert_array_equal(monitor.history["step"], np.arange(12))
    np.testing.assert_allclose(
        monitor.history["learning_rate"], triangle(np.arange(12), 0.01, 0.05, 3), atol=1e-7
    )
    # Where the only step is skipped, that of the next one: the rate that it would have had.
    last_steps = {1: [0, 0, 1, 2, 3, 4, 4, 5, 6, 6, 7, 8, 9, 10, 10, 11], 4: [2, 5, 8, 11]}
    expected = triangle(last_steps[steps_per_execution], 0.01, 0.05, 3)
    assert batches == pytest.approx(expected, abs=1e-7)


class OneStepAtATime(keras.optimizers.schedules.LearningRateSchedule):
    """As users write them for eager training."""

    def __call__(self, step):
        return 0.1 if step < 3 else 0.01 * float(step)


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            raise KeyboardInterrupt


def test_each_fit_is_its_own_and_an_interrupted_one_leaves_its_steps():
    model = compiled(keras.optimizers.SGD(OneStepAtATime()), run_eagerly=True)
    monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    assert monitor.history == {}
    # Not in a list, as Keras allows, where it would else run ahead of its callback.
    fit(model, monitor, epochs=1)
    rates = [0.1, 0.1, 0.1, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]
    np.testing.assert_array_equal(monitor.history["step"], np.arange(5))
    np.testing.assert_allclose(monitor.history["learning_rate"], rates[:5], rtol=1e-6)
    with pytest.raises(KeyboardInterrupt):
        fit(model, [Interrupt(), monitor])
    np.testing.assert_array_equal(monitor.history["step"], np.arange(5, 9))
    np.testing.assert_allclose(monitor.history["learning_rate"], rates[5:], rtol=1e-6)
    # A schedule put in the place of another one in the middle of an epoch.
    replace = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: (
            batch == 2 and setattr(model.optimizer, "learning_rate", kc.schedules.Constant(0.7))
        )
    )
    fit(model, [replace, monitor], epochs=1)
    expected = [0.09, 0.1, 0.7, 0.7, 0.7]
    np.testing.assert_allclose(monitor.history["learning_rate"], expected, rtol=1e-6)


class Count(keras.callbacks.Callback):
    def __init__(self, seen, name):
        super().__init__()
        self.seen, self.name = seen, name

    def set_model(self, model):
        super().set_model(model)
        self.seen.append(self.name)

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.name + str(logs.get("learning_rate")))


def test_other_callbacks_keep_their_order_and_see_the_rate():
    model = compiled(keras.optimizers.SGD(0.5))
    seen = []
    monitor = kc.callbacks.LearningRateMonitor()
    plateau = keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=1e9, factor=0.5)
    a, b, c = (Count(seen, name) for name in "abc")
    history = fit(model, [a, b, monitor, plateau, c])
    # What Keras's own callback logs, before it reduces the rate.
    assert history["learning_rate"] == [0.5, 0.5]
    assert seen == [*"abc", *(["a0.5", "b0.5", "c0.5"] * 2)]
    assert monitor.history == {}
    # By hand, without a list.
    logs = {}
    monitor.set_model(model)
    monitor.on_train_begin()
    monitor.on_epoch_end(0, logs)
    assert logs == {"learning_rate": 0.25}
    monitor.on_epoch_end(1)


def test_bad_input_and_config():
    with pytest.raises(TypeError, match="Argument `per_step` must be True or False"):
        kc.callbacks.LearningRateMonitor(per_step=1)
    monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    assert repr(monitor) == "LearningRateMonitor(per_step=True)"
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(monitor))
    assert again.per_step is True
    monitor.set_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="LearningRateMonitor needs a model with an optimizer"):
        monitor.on_train_begin()


BACKEND = """
    import keras
    import numpy as np
    import keras_cyclic as kc

    x, y = np.full((6, 4), 0.1), np.full((6, 1), 0.1)
    steps = np.arange(12)
    wave = np.minimum(steps % 6, 6 - steps % 6) / 3
    executions = 1 if keras.backend.backend() == "torch" else 4
    ends = [s - 1 for e in (0, 6) for s in range(e + executions, e + 6, executions)] + [5, 11]
    for optimizer in (
        keras.optimizers.Adam(kc.schedules.Triangular(0.01, 0.04, 3)),
        keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(kc.schedules.Triangular(0.01, 0.04, 3))
        ),
        keras.optimizers.Adam(0.5),
    ):
        plain = not hasattr(optimizer, "inner_optimizer") and not isinstance(
            optimizer._learning_rate, kc.schedules.Triangular
        )
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(optimizer, "mse", steps_per_execution=executions)
        monitor = kc.callbacks.LearningRateMonitor(per_step=True)
        batches = []
        read = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda _, logs: batches.append(logs["learning_rate"]),
            on_epoch_begin=lambda epoch, _: plain
            and setattr(optimizer, "learning_rate", 0.5 / (1 + epoch)),
        )
        momentum = kc.callbacks.CyclicalMomentum(
            0.8, 0.9, None if not plain else kc.schedules.Triangular(0.01, 0.04, 3)
        )
        history = model.fit(
            x, y, batch_size=1, epochs=2, verbose=0, callbacks=[read, momentum, monitor]
        ).history
        rates = np.repeat([0.5, 0.25], 6) if plain else 0.01 + 0.03 * wave
        np.testing.assert_array_equal(monitor.history["step"], steps)
        np.testing.assert_allclose(monitor.history["learning_rate"], rates, atol=1e-7)
        np.testing.assert_allclose(monitor.history["beta_1"], 0.9 - 0.1 * wave, atol=1e-7)
        np.testing.assert_allclose(batches, rates[sorted(ends)], atol=1e-7)
        expected = [0.5, 0.25] if plain else [0.01, 0.01]
        np.testing.assert_allclose(history["learning_rate"], expected, atol=1e-7)
        np.testing.assert_allclose(history["beta_1"], [0.9, 0.9], atol=1e-7)
    # TensorFlow never runs ahead of batch callbacks; these backends do where they may.
    for per_step in (False, True):
        monitor = kc.callbacks.LearningRateMonitor(per_step)
        for callbacks in (monitor, [monitor]):
            made = keras.callbacks.CallbackList(callbacks, model=model)
            assert made._async_train is not per_step
    print("the same")
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BACKEND)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip().endswith("the same"), done.stderr[-2000:]
