"""Trainings whose outcome must not depend on how many devices make it."""

import contextlib
import os
import warnings

import keras
import numpy as np
import tensorflow as tf

import keras_cyclic as kc

BATCH_SIZE = 16
STEPS_PER_EPOCH = 4

_random = np.random.default_rng(0)
X = _random.normal(size=(STEPS_PER_EPOCH * BATCH_SIZE, 4)).astype("float32")
Y = (X @ [[1], [2], [3], [4]] + _random.normal(size=(len(X), 1))).astype("float32")


class Trainings:
    """One model after another, each trained with callbacks of `keras_cyclic`.

    Args:
        folder: Where files are written.
        private_folder: Where this process alone writes files.
        scope: A context to build models in.
        steps_per_execution: That of the training which is about it.
    """

    def __init__(
        self,
        folder,
        private_folder=None,
        scope=contextlib.nullcontext,
        steps_per_execution=2,
    ):
        self._folder = folder
        self._private_folder = private_folder or folder
        self._scope = scope
        self._steps_per_execution = steps_per_execution

    def outcomes(self):
        """What came out of each training, by its name, as can be written to JSON."""
        return {
            "one_cycle": self._one_cycle(),
            "executions": self._executions(),
            "layerwise": self._layerwise(),
            "fit_one_cycle": self._fit_one_cycle(),
            "reactions": self._reactions(),
            "resumed": self._resumed(),
            "range_test": self._range_test(),
        }

    def _model(self, optimizer, **compile_arguments):
        with self._scope():
            first = keras.layers.Dense(4, activation="tanh", name="first")
            head = keras.layers.Dense(1, name="head")
            model = keras.Sequential([keras.Input((4,)), first, head])
            model.compile(optimizer(), "mse", **compile_arguments)
        random = np.random.default_rng(1)
        model.set_weights([random.normal(size=weight.shape) for weight in model.weights])
        return model

    def _one_cycle(self):
        model = self._model(lambda: keras.optimizers.SGD(_one_cycle(), momentum=0.9))
        monitor = kc.callbacks.LearningRateMonitor(per_step=True)
        diagnostics = kc.callbacks.LossDiagnostics(patience=1, min_fall=0.9, verbose=0)
        history = _fit(model, [kc.callbacks.CyclicalMomentum(), monitor, diagnostics])
        rates = {name: np.asarray(values).tolist() for name, values in monitor.history.items()}
        findings = [(finding.epoch, finding.kind) for finding in diagnostics.findings]
        return {**_outcome(model, history), "rates": rates, "findings": findings}

    def _executions(self):
        model = self._model(
            lambda: keras.optimizers.Adam(_one_cycle()),
            steps_per_execution=self._steps_per_execution,
        )
        return _outcome(model, _fit(model, [kc.callbacks.CyclicalMomentum()]))

    def _layerwise(self):
        if not hasattr(keras.optimizers, "MultiOptimizer"):
            return {}
        model = self._model(
            lambda: kc.optimizers.layerwise(
                keras.optimizers.SGD(_one_cycle(), momentum=0.9), {".*first/.*": 0.1}
            )
        )
        return _outcome(model, _fit(model, [kc.callbacks.CyclicalMomentum()]))

    def _fit_one_cycle(self):
        model = self._model(lambda: keras.optimizers.SGD(0.01, momentum=0.9))
        with _quiet():
            history = kc.fit_one_cycle(model, _data(), epochs=3, max_lr=0.1, verbose=0)
        return _outcome(model, history.history)

    def _reactions(self):
        model = self._model(_cyclical)
        path = os.path.join(self._folder, "snapshots", "{cycle}.keras")
        snapshots = kc.callbacks.SnapshotEnsemble(path, keep=2)
        stopping = kc.callbacks.CycleEarlyStopping(
            patience=2, min_delta=5, restore_best_weights=True
        )
        history = _fit(model, [*_reactions(), stopping, snapshots], epochs=6)
        ensemble = kc.load_ensemble(snapshots.filepaths)
        return {
            **_outcome(model, history),
            "stopped_epoch": stopping.stopped_epoch,
            "best_epoch": stopping.best_epoch,
            "bounds": _bounds(model),
            "snapshots": [os.path.basename(each) for each in snapshots.filepaths],
            "files": sorted(os.listdir(os.path.dirname(path))),
            "steps": {str(cycle): step for cycle, step in snapshots.steps.items()},
            "ensemble": np.asarray(ensemble(X)).tolist(),
        }

    def _resumed(self):
        folder = os.path.join(self._private_folder, "backup")
        with contextlib.suppress(KeyboardInterrupt):
            backup = keras.callbacks.BackupAndRestore(folder)
            _fit(self._model(_cyclical), [*_reactions(), backup, _Interrupt(2)], epochs=4)
        assert os.path.exists(folder)
        model = self._model(_cyclical)
        backup = keras.callbacks.BackupAndRestore(folder)
        history = _fit(model, [*_reactions(), backup], epochs=4)
        return {**_outcome(model, history), "bounds": _bounds(model)}

    def _range_test(self):
        model = self._model(lambda: keras.optimizers.SGD(0.01, momentum=0.9))
        before = model.get_weights()
        with _quiet():
            # Not as far as to where rounding decides.
            result = kc.lr_range_test(
                model, _data().repeat(10), steps=40, min_lr=1e-4, max_lr=0.1, verbose=0
            )
        for weight, value in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, value)
        assert _iterations(model) == 0
        return {
            "learning_rates": result.learning_rates.tolist(),
            "losses": result.losses.tolist(),
            "diverged": result.diverged,
            "bounds": result.bounds(),
            "after": _outcome(model, _fit(model, [], epochs=1)),
        }

    def saved_and_loaded(self, save_scope, load_scope):
        """A training of which one half is made in one scope, and one half in another."""
        path = os.path.join(self._private_folder, "saved.keras")
        with save_scope():
            model = self._model(_cyclical)
            _fit(model, _reactions(), epochs=2)
            model.save(path)
        with load_scope():
            model = keras.models.load_model(path)
            history = _fit(model, _reactions(), epochs=4, initial_epoch=2)
        return {**_outcome(model, history), "bounds": _bounds(model)}


class _Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self._at = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._at:
            raise KeyboardInterrupt


def _one_cycle():
    return kc.schedules.OneCycle(0.1, 3 * STEPS_PER_EPOCH)


def _cyclical():
    rate = kc.schedules.Triangular(0.01, 0.05, STEPS_PER_EPOCH // 2)
    return keras.optimizers.SGD(rate, momentum=0.5)


def _reactions():
    # No epoch is better by as much as the plateau asks for, and for the bounds only the first are.
    return [
        kc.callbacks.ReduceLROnPlateau(patience=2, factor=0.7, min_delta=100),
        kc.callbacks.AdaptiveBounds(patience=1, factor=0.8, min_delta=2, bound="both"),
        kc.callbacks.CyclicalMomentum(0.4, 0.6),
    ]


def _bounds(model):
    rate = model.optimizer._learning_rate
    return [rate.scale, rate.schedule.base_lr, rate.schedule.max_lr]


def _data():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH_SIZE)


def _fit(model, callbacks, epochs=3, **arguments):
    with _quiet():
        return model.fit(
            _data(),
            epochs=epochs,
            validation_data=_data(),
            callbacks=callbacks,
            verbose=0,
            **arguments,
        ).history


@contextlib.contextmanager
def _quiet():
    with warnings.catch_warnings():
        # The first: of a dataset for several processes Keras does not know the length.
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
        warnings.filterwarnings("ignore", message="The range test runs this model step by step")
        yield


def _outcome(model, history):
    weights = [np.asarray(weight).tolist() for weight in model.get_weights()]
    return {"weights": weights, "history": history, "iterations": _iterations(model)}


def _iterations(model):
    # An `int` of it fails on the variables of a `tf.distribute` strategy.
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))
