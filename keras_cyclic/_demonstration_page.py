"""What the demonstration shows: its table, its verdict and its page of pictures."""

import numpy as np

from keras_cyclic._demonstration import ONE_CYCLE, STEPS_PER_EPOCH

# SGD's own, which holds where nothing cycles it.
MOMENTUM = 0.9


def table(schedules, runs):
    """The last epoch's validation results, one row for each policy.

    Args:
        schedules: A dict from names to schedules.
        runs: A dict from names to lists of `Run`, one for each seed.

    Returns:
        A string of several lines.
    """
    lines = [f"{'':22s}{'highest rate':>12s}{'accuracy in %':>18s}{'loss':>20s}"]
    for name in schedules:
        accuracy, loss = 100 * _last(runs[name], "val_accuracy"), _last(runs[name], "val_loss")
        highest = max(run.rates.max() for run in runs[name])
        lines.append(
            f"{name:22s}{highest:12.4f}{_mean_and_spread(accuracy, 2):>18s}"
            f"{_mean_and_spread(loss, 4):>20s}"
        )
    return "\n".join(lines)


def verdict(runs):
    """Whether 1cycle won, in a sentence, from the accuracies.

    Args:
        runs: A dict from names to lists of `Run`, one for each seed.

    Returns:
        A string.
    """
    accuracies = {name: 100 * _last(of_name, "val_accuracy") for name, of_name in runs.items()}
    ours = accuracies.pop(ONE_CYCLE)
    rival = max(accuracies, key=lambda name: accuracies[name].mean())
    # From the same seed both start at the same weights, so the seeds are compared in pairs.
    lead = ours - accuracies[rival]
    if len(lead) == 1:
        doubt = "one seed tells little"
    elif abs(lead.mean()) <= lead.std(ddof=1) / np.sqrt(len(lead)):
        doubt = "within the noise of the seeds"
    else:
        doubt = f"more than the noise of {len(lead)} seeds"
    if lead.mean() == 0:
        return f"{ONE_CYCLE} ties with {rival} on these digits."
    said = "wins here" if lead.mean() > 0 else "does not win here"
    side = "ahead of" if lead.mean() > 0 else "behind"
    return f"{ONE_CYCLE} {said}: {abs(lead.mean()):.2f} points {side} {rival}, {doubt}."


def draw(result, runs, path):
    """Draws the range test, the rates, the momenta, the losses and the accuracies as one page.

    Args:
        result: The `RangeTestResult`.
        runs: A dict from names to lists of `Run`, one for each seed.
        path: The path of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 11), layout="constrained")
    figure.suptitle("keras_cyclic on handwritten digits, a small convolutional network")
    axes = figure.subplot_mosaic(
        [["range", "range"], ["rates", "momenta"], ["losses", "accuracies"]],
        height_ratios=(4, 3, 4),
    )
    result.plot(axes["range"])
    axes["range"].set_title("Range test: 100 steps, after which the model is as it was")
    for number, (name, of_name) in enumerate(runs.items()):
        colour = f"C{number}"
        first = of_name[0]
        epochs = np.arange(len(first.rates)) / STEPS_PER_EPOCH
        momenta = np.full(len(epochs), MOMENTUM) if first.momenta is None else first.momenta
        axes["rates"].plot(epochs, first.rates, colour)
        axes["momenta"].plot(epochs, momenta, colour)
        _draw_losses(axes["losses"], of_name, colour, name)
        _draw_accuracies(axes["accuracies"], of_name, colour, number)
    axes["rates"].set(title="Learning rate of each step", xlabel="epoch", ylabel="learning rate")
    axes["momenta"].set(title="Momentum of each step", xlabel="epoch", ylabel="momentum")
    axes["losses"].set(
        title="Validation: mean of the seeds, lowest to highest",
        xlabel="epoch",
        ylabel="loss",
        yscale="log",
    )
    axes["accuracies"].set(title="Validation after the last epoch", ylabel="accuracy in %")
    axes["accuracies"].set_xticks(range(len(runs)), [name.replace(" ", "\n", 1) for name in runs])
    axes["accuracies"].margins(x=0.15)
    for each in axes.values():
        each.grid(alpha=0.3)
    figure.legend(*axes["losses"].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=120)


def _draw_losses(axes, runs, colour, name):
    losses = np.array([run.history["val_loss"] for run in runs])
    epochs = np.arange(1, losses.shape[1] + 1)
    # One epoch is a point, which a line would not show.
    axes.plot(epochs, losses.mean(axis=0), colour, label=name, marker="o", markersize=3)
    axes.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.12)


def _draw_accuracies(axes, runs, colour, place):
    accuracies = 100 * _last(runs, "val_accuracy")
    axes.plot(np.full(len(accuracies), place), accuracies, "o", color=colour, alpha=0.5)
    axes.plot(place, accuracies.mean(), "_", color=colour, markersize=30, markeredgewidth=3)


def _last(runs, key):
    return np.array([run.history[key][-1] for run in runs])


def _mean_and_spread(values, digits):
    spread = f"{values.std(ddof=1):.{digits}f}" if len(values) > 1 else "-"
    return f"{values.mean():.{digits}f} ± {spread}"
