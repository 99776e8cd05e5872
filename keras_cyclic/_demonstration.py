"""The trainings of the demonstration, on scikit-learn's handwritten digits."""

import dataclasses
import subprocess
import sys
import warnings

import keras
import numpy as np

import keras_cyclic as kc
from keras_cyclic._readings import learning_rate_now, steps_made

BATCH_SIZE = 32
# Half of the digits to train on: the other half tells small differences apart.
TRAINING_DIGITS = 898
STEPS_PER_EPOCH = -(-TRAINING_DIGITS // BATCH_SIZE)
ONE_CYCLE = "1cycle with momentum"
# The training that is stopped: half of its epochs in one process, half in the next.
HALF_EPOCHS = 2


@dataclasses.dataclass
class Run:
    """One training.

    Attributes:
        history: What `fit` gave: a dict of lists, one value an epoch.
        rates: The learning rate of each step, a NumPy array.
        momenta: The momentum of each step, or None where nothing cycles it.
    """

    history: dict
    rates: np.ndarray
    momenta: np.ndarray | None


def digits():
    """`(x, y)` to train on and `(x, y)` to validate on, in one fixed order."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32").reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(images))
    training, validation = np.split(order, [TRAINING_DIGITS])
    return (images[training], labels[training]), (images[validation], labels[validation])


def network(learning_rate, seed):
    """A small convolutional network, compiled with SGD at `learning_rate`."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.SGD(learning_rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EPOCH,
    )
    return model


def range_test():
    """The range test, on a model that it leaves as it was."""
    training, _ = digits()
    model = network(0.01, seed=0)
    return kc.lr_range_test(model, *training, batch_size=BATCH_SIZE, steps=100, verbose=0)


def policies(result, epochs):
    """What is compared, by name: learning rates at what the range test found."""
    _, max_lr = result.bounds()
    steps = epochs * STEPS_PER_EPOCH
    return {
        "constant": kc.schedules.Constant(result.suggest()),
        "step decay": kc.schedules.StepDecay(max_lr, step_size=-(-steps // 3)),
        "cosine": kc.schedules.CosineAnnealing(max_lr, decay_steps=steps),
        ONE_CYCLE: kc.schedules.OneCycle(max_lr, total_steps=steps),
    }


def train(name, schedule, epochs, seed):
    """Trains a new network and gives its `Run`."""
    training, validation = digits()
    model = network(schedule, seed)
    monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    momentum = [kc.callbacks.CyclicalMomentum()] if name == ONE_CYCLE else []
    history = model.fit(
        *training,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=validation,
        verbose=0,
        callbacks=[*momentum, monitor],
    )
    seen = monitor.history
    return Run(history.history, seen["learning_rate"], seen.get("momentum"))


def stopped_training(folder):
    """Trains to the middle of a cycle, saves, and has a new process load the model and go on.

    Args:
        folder: Where the model is saved, a `pathlib.Path`.

    Returns:
        Whether the weights at the end are, bit for bit, those of a training that nobody stopped.
    """
    steps = 2 * HALF_EPOCHS * STEPS_PER_EPOCH
    schedule = kc.schedules.OneCycle(max_lr=0.1, total_steps=steps)
    stopped, whole = network(schedule, seed=0), network(schedule, seed=0)
    path = folder / "stopped.keras"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OneCycle.* stops before the rate has come down")
        _continue(stopped, HALF_EPOCHS)
    stopped.save(path)
    print(f"Saved at {_position(stopped)}.", flush=True)
    command = [sys.executable, "-m", "keras_cyclic", "--continue", str(path)]
    subprocess.run(command, check=True)
    _continue(whole, 2 * HALF_EPOCHS)
    continued = keras.saving.load_model(path)
    return all(map(np.array_equal, continued.get_weights(), whole.get_weights()))


def continue_training(path):
    """What the new process does: loads the model, trains to the cycle's end and saves it again.

    Args:
        path: The path of the saved model.
    """
    model = keras.saving.load_model(path)
    print(f"A new process loads it at {_position(model)}.", flush=True)
    _continue(model, 2 * HALF_EPOCHS, initial_epoch=HALF_EPOCHS)
    print(f"It trains on to {_position(model)}.", flush=True)
    model.save(path)


def _continue(model, epochs, initial_epoch=0):
    training, _ = digits()
    model.fit(
        *training,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[kc.callbacks.CyclicalMomentum()],
    )


def _position(model):
    rate = learning_rate_now(model.optimizer)
    return f"step {steps_made(model.optimizer)}, learning rate {rate:.6f}"
