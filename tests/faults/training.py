"""A training with every callback at once, that leaves traces which an interruption cannot take.

It is always the same one. Each epoch leaves a line in FOLDER/epochs.jsonl with all that the
training is made of by then: the step, the weights and the optimizer's variables, the logs, and the
learning rate, the momentum and the weight decay of each step.
"""

import csv
import json
import os

import keras
import numpy as np

import keras_cyclic as kc

STEPS_PER_EPOCH = 8
EPOCHS = 16
# Where CycleEarlyStopping ends it.
STOPPED_AFTER = 12
CYCLE = 12
KEEP = 3
RATES = ("learning_rate", "momentum", "weight_decay")

_random = np.random.default_rng(0)
X = _random.normal(size=(64, 4)).astype("float32")
Y = (X @ [[1], [2], [3], [4]] + _random.normal(size=(64, 1))).astype("float32")


def train(folder, announce=lambda name: None, keep=KEEP):
    """Trains in a folder, or goes on there with what an interrupted training has left.

    Args:
        folder: A `pathlib.Path`.
        announce: A function that is called with the name of each save as it begins, and with that
            name and `" done"` as it ends.
        keep: How many snapshots to keep.
    """
    model = _model()
    snapshots = _announced(kc.callbacks.SnapshotEnsemble, {"_save": "snapshot"}, announce)(
        folder / "snapshots" / "{cycle:02d}.keras", keep=keep
    )
    history = model.fit(
        X,
        Y,
        batch_size=len(X) // STEPS_PER_EPOCH,
        epochs=EPOCHS,
        shuffle=False,
        validation_data=(X, Y),
        validation_batch_size=len(X),
        callbacks=_callbacks(folder, snapshots, announce),
        verbose=0,
    )
    result = {
        "epochs": history.epoch,
        "weights": [weight.tolist() for weight in model.get_weights()],
        "snapshots": [os.path.basename(path) for path in snapshots.filepaths],
    }
    (folder / "result.json").write_text(json.dumps(result))


def _model():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    rate = kc.schedules.Triangular(0.001, 0.02, step_size=CYCLE // 2)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-3)
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def _callbacks(folder, snapshots, announce):
    saves = {"_save_model": "backup", "on_train_end": "removal of the backup"}
    backup = _announced(keras.callbacks.BackupAndRestore, saves, announce)
    logger = _announced(keras.callbacks.CSVLogger, {"on_epoch_end": "row"}, announce)
    monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    # After the first cycle nothing counts as an improvement, so that all react again and again.
    reacting = {"min_delta": 100}
    return [
        kc.callbacks.CyclicalMomentum(),
        kc.callbacks.HyperparameterSchedule("weight_decay", kc.schedules.LinearDecay(1e-3, 200)),
        kc.callbacks.ReduceLROnPlateau(patience=3, factor=0.9, cooldown=1, **reacting),
        kc.callbacks.AdaptiveBounds(patience=2, factor=0.8, bound="both", **reacting),
        kc.callbacks.CycleEarlyStopping(patience=7, restore_best_weights=True, **reacting),
        snapshots,
        kc.callbacks.LossDiagnostics(verbose=0),
        kc.callbacks.LearningRateMonitor(),
        monitor,
        logger(folder / "log.csv", append=True),
        _Recorder(folder / "epochs.jsonl", monitor),
        backup(folder / "backup", double_checkpoint=True),
    ]


def _announced(kind, names, announce):
    """A subclass that says when some of its methods begin and end."""

    def announced(method, name):
        def call(self, *args, **kwargs):
            announce(name)
            getattr(kind, method)(self, *args, **kwargs)
            announce(f"{name} done")

        return call

    methods = {method: announced(method, name) for method, name in names.items()}
    return type(kind.__name__, (kind,), methods)


class _Recorder(keras.callbacks.Callback):
    def __init__(self, path, monitor):
        super().__init__()
        self._path = path
        self._monitor = monitor

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        variables = [*self.model.weights, *optimizer.variables]
        steps = self._monitor.history
        line = {
            "epoch": epoch,
            "step": int(optimizer.iterations),
            "variables": [np.asarray(variable).tobytes().hex() for variable in variables],
            "logs": {name: float(value) for name, value in logs.items()},
            "steps": {name: steps[name][-STEPS_PER_EPOCH:].tolist() for name in ("step", *RATES)},
        }
        # In one `write`, so that a line is there whole or not.
        with open(self._path, "ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")


def read_epochs(folder):
    """The lines that the epochs have left, in their order."""
    path = folder / "epochs.jsonl"
    return list(map(json.loads, path.read_text().splitlines())) if path.exists() else []


def read_log(folder):
    """The rows of the CSVLogger, in their order, and the fields of its header."""
    path = folder / "log.csv"
    if not path.exists():
        return [], []
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    return rows[1:], rows[0] if rows else []
