"""The demonstration: cyclical training on scikit-learn's handwritten digits.

    python -m keras_cyclic

A range test finds the learning rates. A small convolutional network is then trained at a constant
rate, with Triangular2, and with OneCycle and its momentum. Last, a training is saved in the middle
of a cycle and continued by a new Python process.
"""

import argparse
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_cyclic as kc
from keras_cyclic._readings import learning_rate_now

BATCH_SIZE = 32
STEPS_PER_EPOCH = 45
CONTINUED_EPOCHS = 2


def digits():
    """1,437 digits to train on and 360 to validate on, in one fixed order."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32").reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(images))
    training, validation = np.split(order, [1437])
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
        steps_per_execution=9,
    )
    return model


def find_learning_rates():
    """The range test, on a model that it leaves as it was."""
    training, _ = digits()
    print("\nThe range test: 100 steps at rising learning rates", flush=True)
    result = kc.lr_range_test(network(0.01, seed=0), *training, batch_size=BATCH_SIZE, steps=100)
    base_lr, max_lr = result.bounds()
    print(f"It suggests {result.suggest():.3g}, and {base_lr:.3g} to {max_lr:.3g} for cycles.")
    return result


def policies(result, epochs):
    """The schedules that are compared, by name, at the rates that the range test found."""
    base_lr, max_lr = result.bounds()
    return {
        "constant": kc.schedules.Constant(result.suggest()),
        "Triangular2": kc.schedules.Triangular2(base_lr, max_lr, step_size=STEPS_PER_EPOCH),
        "OneCycle": kc.schedules.OneCycle(max_lr, total_steps=epochs * STEPS_PER_EPOCH),
    }


def callbacks_for(name):
    """1cycle cycles the momentum against the learning rate; the others leave it alone."""
    return [kc.callbacks.CyclicalMomentum()] if name == "OneCycle" else []


def compare(schedules, epochs, seeds):
    """Trains with each schedule from each seed; gives the histories, by name."""
    training, validation = digits()
    histories = {}
    for name, schedule in schedules.items():
        for seed in seeds:
            print(f"\n{name}, seed {seed}: {schedule}", flush=True)
            model = network(schedule, seed)
            history = model.fit(
                *training,
                batch_size=BATCH_SIZE,
                epochs=epochs,
                validation_data=validation,
                callbacks=callbacks_for(name),
            )
            histories.setdefault(name, []).append(history.history)
    return histories


def print_table(histories, seeds):
    """The validation accuracies after the last epoch, a row for each schedule."""
    print("\nValidation accuracy after the last epoch")
    print(f"{'':12s}" + "".join(f"{f'seed {seed}':>9s}" for seed in seeds) + f"{'mean':>9s}")
    for name, runs in histories.items():
        accuracies = [run["val_accuracy"][-1] for run in runs]
        cells = "".join(f"{accuracy:9.4f}" for accuracy in [*accuracies, np.mean(accuracies)])
        print(f"{name:12s}{cells}")


def plot(result, schedules, histories, epochs, path):
    """The range test, the learning rates, the momentum and the losses, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 12), layout="constrained")
    test, above, middle, below = figure.subplots(4, 1, height_ratios=(3, 2, 1, 3))
    result.plot(test)
    test.set_title("Range test on digits, small convolutional network")
    steps = np.arange(epochs * STEPS_PER_EPOCH)
    for index, (name, schedule) in enumerate(schedules.items()):
        colour = f"C{index}"
        above.plot(steps / STEPS_PER_EPOCH, schedule(steps), colour, label=name)
        momentum = np.full(len(steps), 0.9)
        for callback in callbacks_for(name):
            height = keras.ops.convert_to_numpy(schedule.height(keras.ops.arange(len(steps))))
            span = callback.max_momentum - callback.base_momentum
            momentum = callback.max_momentum - span * height
        middle.plot(steps / STEPS_PER_EPOCH, momentum, colour)
        for key, style in (("loss", "-"), ("val_loss", "--")):
            mean = np.mean([run[key] for run in histories[name]], axis=0)
            label = f"{name}, {'training' if key == 'loss' else 'validation'}"
            below.plot(np.arange(1, epochs + 1), mean, colour, linestyle=style, label=label)
    above.set(title="Training", ylabel="learning rate")
    above.legend()
    middle.set(ylabel="momentum")
    below.set(xlabel="epoch", ylabel="loss, mean over the seeds", yscale="log")
    below.legend(ncols=len(schedules))
    for axes in (above, middle, below):
        axes.set_xlim(0, epochs)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def interrupted_training(folder):
    """Trains into the middle of a cycle, saves, and has a new process continue.

    Gives whether the two ended at the same weights as a training that nobody stopped.
    """
    training, _ = digits()
    schedule = kc.schedules.Triangular2(0.01, 0.1, step_size=3 * STEPS_PER_EPOCH // 2)
    print(f"\nA training stopped in the middle of a cycle: {schedule}", flush=True)
    model = network(schedule, seed=0)
    model.fit(*training, batch_size=BATCH_SIZE, epochs=2, shuffle=False)
    path = folder / "stopped.keras"
    model.save(path)
    iterations = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    rate = learning_rate_now(model.optimizer)
    print(f"Saved at step {iterations}, where the learning rate is {rate:.6f}.")
    print("\nThe same model, loaded by a new Python process and trained on:", flush=True)
    command = [sys.executable, "-m", "keras_cyclic", "--continue", str(path)]
    subprocess.run(command, check=True)
    print("\nThe same training, not stopped:", flush=True)
    model.fit(*training, batch_size=BATCH_SIZE, epochs=CONTINUED_EPOCHS, shuffle=False)
    continued = keras.saving.load_model(path)
    return all(
        np.array_equal(ours, theirs)
        for ours, theirs in zip(model.get_weights(), continued.get_weights())
    )


def continue_training(path):
    """What the new process does: loads the model, trains on and saves it again."""
    training, _ = digits()
    model = keras.saving.load_model(path)
    iterations = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    rate = learning_rate_now(model.optimizer)
    print(f"Loaded at step {iterations}, where the learning rate is {rate:.6f}.", flush=True)
    model.fit(*training, batch_size=BATCH_SIZE, epochs=CONTINUED_EPOCHS, shuffle=False)
    model.save(path)


def main():
    """Reads the command line and runs the demonstration."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_cyclic",
        description="Compares learning-rate schedules on scikit-learn's handwritten digits, and "
        "continues a saved training in a new process.",
    )
    parser.add_argument("--epochs", type=int, default=8, help="epochs for each run (default: 8)")
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds (default: 2)")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("keras_cyclic_demo"),
        help="folder for the picture and the model (default: keras_cyclic_demo)",
    )
    parser.add_argument(
        "--continue",
        dest="continued",
        metavar="MODEL",
        help="only load this saved model and train it on for two epochs",
    )
    arguments = parser.parse_args()
    if arguments.epochs < 1 or arguments.seeds < 1:
        parser.error("--epochs and --seeds must be 1 or more")
    if arguments.continued:
        continue_training(arguments.continued)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = find_learning_rates()
    schedules = policies(result, arguments.epochs)
    seeds = range(arguments.seeds)
    histories = compare(schedules, arguments.epochs, seeds)
    same = interrupted_training(arguments.out)
    print_table(histories, seeds)
    print(
        "\nStopped, saved, loaded by a new process and continued: "
        f"{'the same weights, bit for bit' if same else 'NOT the same weights'}, "
        "as the training that was not stopped."
    )
    picture = arguments.out / "demonstration.png"
    plot(result, schedules, histories, arguments.epochs, picture)
    print(f"\nRange test, learning rates, momentum and losses: {picture}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
