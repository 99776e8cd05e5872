"""Pictures, drawn with Matplotlib, which is optional."""

import numpy as np


def pyplot():
    """The module `matplotlib.pyplot`, imported only when something is drawn."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            "Plots need Matplotlib. Install it with `pip install keras_cyclic[plot]`."
        ) from error
    return matplotlib.pyplot


def plot_range_test(result, ax=None):
    """Draws a range test: the losses, the smoothed losses, the suggestion and the bounds.

    Args:
        result: A `RangeTestResult`.
        ax: The Matplotlib Axes to draw on. Defaults to new ones.

    Returns:
        The Matplotlib Axes.

    Raises:
        ImportError: If Matplotlib is not installed.
    """
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    rates, losses, smoothed = result.learning_rates, result.losses, result.smoothed_losses
    ax.plot(rates, losses, color="0.7", linewidth=1, label="each step")
    ax.plot(rates, smoothed, color="C0", linewidth=2.2, label="smoothed")
    ax.set_xscale("log")
    ax.set_xlabel("learning rate")
    ax.set_ylabel(result.loss_name)
    ax.grid(alpha=0.3)
    _set_height(ax, losses, smoothed)
    _mark_answers(ax, result)
    ax.legend(frameon=False, loc="best")
    return ax


def _set_height(ax, losses, smoothed):
    """Leaves an explosion out of the picture, which would flatten all that came before it."""
    before = smoothed[: int(np.nanargmin(smoothed)) + 1] if np.isfinite(smoothed).any() else losses
    before = before[np.isfinite(before)]
    if len(before) == 0:
        return
    low, high = np.min(before), np.max(before)
    height = max(high - low, 0.05 * abs(high), 1e-12)
    ax.set_ylim(low - 0.15 * height, high + 0.45 * height)


def _mark_answers(ax, result):
    try:
        suggestion, bounds = result.suggest(), result.bounds()
    except ValueError:
        ax.set_title("no sound suggestion: see `result.suggest()`", fontsize="medium")
        return
    ax.axvspan(*bounds, color="C2", alpha=0.12, label="bounds {:.2g} to {:.2g}".format(*bounds))
    for bound in bounds:
        ax.axvline(bound, color="C2", linewidth=1, linestyle="--")
    loss = np.interp(np.log(suggestion), np.log(result.learning_rates), result.smoothed_losses)
    ax.plot(suggestion, loss, "o", color="C3", markersize=9, label=f"steepest {suggestion:.2g}")
