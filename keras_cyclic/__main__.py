"""The demonstration: cyclical training on scikit-learn's handwritten digits.

    python -m keras_cyclic

A range test finds the learning rates. A small convolutional network is then trained at a constant
rate, with step decay, with cosine annealing, and with 1cycle and its momentum. Last, a training
is saved in the middle of a cycle and continued by a new Python process.
"""

import argparse
import importlib.util
import pathlib
import sys
import time

from keras_cyclic import _demonstration, _demonstration_page

EPOCHS, QUICK_EPOCHS = 10, 2
SEEDS, QUICK_SEEDS = 3, 1


def main():
    """Reads the command line and runs the demonstration."""
    parser = _parser()
    arguments = parser.parse_args()
    epochs, seeds = (QUICK_EPOCHS, QUICK_SEEDS) if arguments.quick else (EPOCHS, SEEDS)
    epochs = epochs if arguments.epochs is None else arguments.epochs
    seeds = seeds if arguments.seeds is None else arguments.seeds
    if epochs < 1 or seeds < 1:
        parser.error("--epochs and --seeds must be 1 or more")
    missing = [name for name in ("matplotlib", "sklearn") if not importlib.util.find_spec(name)]
    if missing:
        parser.error(
            f"{' and '.join(missing)} not installed; the demonstration needs "
            "`pip install 'keras_cyclic[demo]'`"
        )
    if arguments.continued:
        _demonstration.continue_training(arguments.continued)
        return
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out must be a folder that can be written to: {error}")
    sys.exit(0 if run(epochs, seeds, arguments.out) else 1)


def run(epochs, seeds, folder):
    """Runs all parts of the demonstration.

    Args:
        epochs: The epochs of each training.
        seeds: How often each training is done.
        folder: Where the model and the page go, a `pathlib.Path`.

    Returns:
        Whether the training that was stopped ended as the one that was not.
    """
    print("Range test: 100 steps at rising learning rates", flush=True)
    result = _demonstration.range_test()
    base_lr, max_lr = result.bounds()
    print(f"It suggests {result.suggest():.3g}, and {base_lr:.3g} to {max_lr:.3g} for cycles.")

    schedules = _demonstration.policies(result, epochs)
    runs = {name: [] for name in schedules}
    print(f"\nTraining: {epochs} epochs of {_demonstration.STEPS_PER_EPOCH} steps", flush=True)
    for seed in range(seeds):
        for name, schedule in schedules.items():
            begin = time.perf_counter()
            trained = _demonstration.train(name, schedule, epochs, seed)
            runs[name].append(trained)
            seconds = time.perf_counter() - begin
            accuracy = 100 * trained.history["val_accuracy"][-1]
            print(f"  seed {seed}, {name}: {accuracy:.2f} % ({seconds:.1f} s)", flush=True)

    print("\nSave, load, go on: 1cycle with momentum, stopped in the middle", flush=True)
    same = _demonstration.stopped_training(folder)
    equal = "the same weights, bit for bit" if same else "NOT the same weights"
    print(f"It ends at {equal}, as the training that nobody stopped.")

    spread = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
    print(f"\nValidation on {len(_demonstration.digits()[1][1])} digits: {spread}\n")
    print(_demonstration_page.table(schedules, runs))
    print(f"\n{_demonstration_page.verdict(runs)}")
    page = folder / "demonstration.png"
    _demonstration_page.draw(result, runs, page)
    print(f"\nRange test, rates, momenta, losses and accuracies: {page}")
    return same


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m keras_cyclic",
        description="Finds learning rates with a range test, compares a constant rate, step decay, "
        "cosine annealing and 1cycle with momentum on scikit-learn's handwritten digits, and "
        "continues a saved training in a new process.",
    )
    parser.add_argument("--epochs", type=int, help=f"epochs of each training (default: {EPOCHS})")
    parser.add_argument("--seeds", type=int, help=f"how many seeds (default: {SEEDS})")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("keras_cyclic_demo"),
        help="folder for the page and the model (default: keras_cyclic_demo)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"a short look: {QUICK_EPOCHS} epochs and {QUICK_SEEDS} seed, unless said otherwise",
    )
    parser.add_argument("--continue", dest="continued", metavar="MODEL", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
