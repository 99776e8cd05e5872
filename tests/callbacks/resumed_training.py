"""Training runs that are interrupted and taken up again; also started as a process.

    python -m tests.callbacks.resumed_training killed FOLDER RATE ORDER STEP
    python -m tests.callbacks.resumed_training loaded FOLDER

The first one trains with BackupAndRestore in FOLDER, and kills its own process at the beginning of
step STEP, -1 for never. The second one loads FOLDER/model.keras and trains on. Both write what
came out to FOLDER/result.json.
"""

import json
import os
import signal
import sys

import keras
import numpy as np

from tests.backends import compile_arguments

EPOCHS = 9
STEPS_PER_EPOCH = 8
INTERRUPTED_AT = 35

_random = np.random.default_rng(0)
X = _random.normal(size=(64, 4)).astype("float32")
Y = (X @ [[1], [2], [3], [4]] + _random.normal(size=(64, 1))).astype("float32")


def build(rate):
    """A compiled model, always with the same weights."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(_optimizer(rate), "mse", **compile_arguments(jit_compile=False))
    return model


def _optimizer(rate):
    if rate == "float":
        return keras.optimizers.SGD(0.01, momentum=0.5)
    if rate == "keras":
        cosine = keras.optimizers.schedules.CosineDecay(0.02, 200)
        return keras.optimizers.SGD(cosine, momentum=0.5)
    if rate == "multi":
        default = keras.optimizers.SGD(_cyclical(0.02), name="default")
        others = {".*bias": keras.optimizers.SGD(_cyclical(0.01), momentum=0.5, name="bias")}
        return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(default, others))
    sgd = keras.optimizers.SGD(_cyclical(0.02), momentum=0.5)
    # So large a scale that the first steps overflow, and are left out.
    overflowing = {"initial_scale": 2.0**126, "dynamic_growth_steps": 5}
    return keras.optimizers.LossScaleOptimizer(sgd, **overflowing) if rate == "scaled" else sgd


def _cyclical(max_lr):
    from keras_cyclic.schedules import Triangular, Warmup

    return Warmup(Triangular(0.001, max_lr, step_size=4), warmup_steps=3, initial_lr=0.0005)


def reactions(rate, names=("plateau", "bounds", "stopping")):
    """The callbacks that react to validation, as far as they can with this rate.

    Nothing after the first epoch counts as an improvement, so that all react again and again.
    """
    from keras_cyclic.callbacks import AdaptiveBounds, CycleEarlyStopping, ReduceLROnPlateau

    made = {
        "plateau": ReduceLROnPlateau(patience=2, factor=0.7, min_delta=100, cooldown=2),
        "bounds": AdaptiveBounds(patience=2, factor=0.8, min_delta=100, bound="both"),
        "stopping": CycleEarlyStopping(patience=6, min_delta=100, restore_best_weights=True),
    }
    has_cycles = rate not in ("float", "keras")
    return [made[name] for name in names if has_cycles or name == "plateau"]


def fit(model, callbacks, epochs=EPOCHS, initial_epoch=0):
    """Trains, and gives the history."""
    return model.fit(
        X,
        Y,
        batch_size=len(X) // STEPS_PER_EPOCH,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        validation_data=(X, Y),
        validation_batch_size=len(X),
        callbacks=callbacks,
        verbose=0,
    ).history


def in_order(callbacks, others, order):
    """The others before these callbacks or after them."""
    return [*others, *callbacks] if order == "before" else [*callbacks, *others]


class At(keras.callbacks.Callback):
    """Calls a function at the beginning of one step."""

    def __init__(self, step, function):
        super().__init__()
        self._step = step
        self._function = function
        self._batches = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._batches = epoch * STEPS_PER_EPOCH

    def on_train_batch_begin(self, batch, logs=None):
        if self._batches + batch == self._step:
            self._function()


def _write(folder, model, history):
    weights = [weight.tolist() for weight in model.get_weights()]
    with open(os.path.join(folder, "result.json"), "w") as file:
        json.dump({"history": history, "weights": weights}, file)


def _killed(folder, rate, order, step):
    backup = keras.callbacks.BackupAndRestore(os.path.join(folder, "backup"))
    kill = At(int(step), lambda: os.kill(os.getpid(), signal.SIGKILL))
    model = build(rate)
    history = fit(model, [*in_order(reactions(rate), [backup], order), kill])
    _write(folder, model, history)


def _loaded(folder):
    path = os.path.join(folder, "model.keras")
    try:
        keras.saving.load_model(path)
    except TypeError as error:
        print(error)
    keras.saving.load_model(path, compile=False)
    import keras_cyclic  # noqa: F401

    model = keras.saving.load_model(path)
    history = fit(model, reactions("cyclical"), initial_epoch=INTERRUPTED_AT // STEPS_PER_EPOCH)
    _write(folder, model, history)


if __name__ == "__main__":
    {"killed": _killed, "loaded": _loaded}[sys.argv[1]](*sys.argv[2:])
