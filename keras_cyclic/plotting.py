"""Pictures, drawn with Matplotlib, which is optional."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from keras import ops

from keras_cyclic import _arguments
from keras_cyclic._config import describe
from keras_cyclic._types import Integer, Real
from keras_cyclic.schedules.adjustable import wave_of
from keras_cyclic.schedules.clock import integer_step
from keras_cyclic.schedules.schedule import KerasSchedule, check_schedule, rates, rates_together
from keras_cyclic.schedules.wave import against

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def plot_schedule(
    schedule_or_dict: KerasSchedule | Mapping[str, KerasSchedule],
    steps: Integer,
    ax: "Axes | None" = None,
    *,
    momentum: tuple[Real, Real] | list[Real] | None = None,
    steps_per_epoch: Integer | None = None,
    yscale: Literal["linear", "log"] = "linear",
) -> "Axes":
    """Draws one schedule or several, and the momentum that goes with them.

    Every step is looked at, up to about a million of them, so that no peak and no restart is
    missed; of more steps, about a million. A schedule that can only answer for one step at a time
    is looked at about two thousand times.

    Args:
        schedule_or_dict: A `LearningRateSchedule`, of `keras_cyclic` or of Keras, or a dict from
            names for the legend to such schedules.
        steps: The number of steps to draw, from step 0.
        ax: The Matplotlib Axes to draw on, which may hold other curves. With `momentum`, its lower
            part becomes the Axes of the momentum. Defaults to new ones, in a new figure.
        momentum: A pair `(base_momentum, max_momentum)`. If given, what
            `kc.callbacks.CyclicalMomentum` would make of each schedule is drawn below, in Axes of
            its own over the same steps: `ax.figure.axes[-1]`. Defaults to `None`.
        steps_per_epoch: Steps in an epoch. If given, the axis counts epochs. Defaults to `None`.
        yscale: `"linear"`, or `"log"` for rates that span decades, where a rate of 0 has no
            place. Defaults to `"linear"`.

    Returns:
        The Matplotlib Axes of the learning rates.

    Raises:
        ImportError: If Matplotlib is not installed.
        ValueError: If the dict is empty, `steps` or `steps_per_epoch` is not a positive whole
            number, `momentum` is no pair of momenta in order, or is given with a schedule that
            is no wave, or `yscale` is unknown.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.OneCycle(max_lr=0.1, total_steps=1000)
    >>> ax = kc.plot_schedule(schedule, 1000, momentum=(0.85, 0.95), steps_per_epoch=100)
    >>> ax.figure.savefig("one_cycle.png")  # doctest: +SKIP
    """
    schedules = _named_schedules(schedule_or_dict)
    steps = _arguments.length("steps", steps)
    if steps_per_epoch is not None:
        steps_per_epoch = _arguments.length("steps_per_epoch", steps_per_epoch)
    yscale = _arguments.choice("yscale", yscale, ("linear", "log"))
    if momentum is not None:
        momentum = _pair_of_momenta(momentum)
    curves = {name: _curve(schedule, steps) for name, schedule in schedules.items()}
    below = {} if momentum is None else _momentum_curves(schedules, steps, momentum)

    plt = pyplot()
    is_own_figure = ax is None
    ax, momentum_ax = _axes(plt, ax, momentum is not None)
    has_legend = isinstance(schedule_or_dict, dict)
    # A line through so few points would hide where they are.
    style: dict[str, Any] = {
        "linewidth": 1.6,
        "marker": "o" if steps <= 40 else None,
        "markersize": 4,
    }
    unit = steps_per_epoch or 1
    for name, (t, values) in curves.items():
        label = name if has_legend else None
        (line,) = ax.plot(t / unit, values, label=label, **style)
        if name in below:
            t, values = below[name]
            momentum_ax.plot(t / unit, values, color=line.get_color(), **style)
    _label(ax, momentum_ax, "step" if steps_per_epoch is None else "epoch")
    ax.set_yscale(yscale)
    if is_own_figure and steps >= 2 * (steps_per_epoch or 1):
        ax.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    if has_legend:
        if is_own_figure:
            ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        else:
            size = "medium" if len(schedules) <= 4 else "small"
            ax.legend(loc="best", fontsize=size, framealpha=0.8, edgecolor="none")
    return ax


def _named_schedules(schedule_or_dict):
    name = "schedule_or_dict"
    if isinstance(schedule_or_dict, KerasSchedule):
        return {None: schedule_or_dict}
    if not isinstance(schedule_or_dict, dict):
        raise TypeError(
            f"Argument `{name}` must be a `keras.optimizers.schedules.LearningRateSchedule` or a "
            "dict from names to such schedules. "
            f"Received: {name}={_arguments.shown(schedule_or_dict)} of type "
            f"{type(schedule_or_dict).__name__}"
        )
    if not schedule_or_dict:
        raise ValueError(
            f"Argument `{name}` must have at least one schedule. "
            f"Received: {name}={_arguments.shown(schedule_or_dict)}"
        )
    for key, schedule in schedule_or_dict.items():
        if not isinstance(key, str):
            raise TypeError(
                f"Argument `{name}` must have strings as keys, for the legend. "
                f"Received: the key {_arguments.shown(key)} of type {type(key).__name__}"
            )
        check_schedule(f"{name}[{_arguments.shown(key)}]", schedule)
    return dict(schedule_or_dict)


def _pair_of_momenta(momentum):
    if not isinstance(momentum, (list, tuple)) or len(momentum) != 2:
        raise (ValueError if isinstance(momentum, (list, tuple)) else TypeError)(
            "Argument `momentum` must be a pair, (base_momentum, max_momentum). "
            f"Received: momentum={_arguments.shown(momentum)}"
        )
    return _arguments.momenta(*momentum)


# As many steps as are evaluated together in well under a second, and one by one in a few.
_MOST_TOGETHER = 2**20
_MOST_ONE_BY_ONE = 2**11


def _curve(schedule, steps):
    t = _evaluated_steps(steps, _MOST_TOGETHER)
    try:
        values = rates_together(schedule, t)
    except Exception:
        t = _evaluated_steps(steps, _MOST_ONE_BY_ONE)
        values = rates(schedule, t)
    return _thinned(t, values)


def _momentum_curves(schedules, steps, momentum):
    t = _evaluated_steps(steps, _MOST_TOGETHER)
    curves = {}
    for name, schedule in schedules.items():
        wave = wave_of(schedule)
        if wave is None:
            which = "schedule_or_dict" if name is None else f"schedule_or_dict[{name!r}]"
            raise ValueError(
                "Argument `momentum` must be None where a schedule is no wave that a momentum "
                "could follow, as `kc.callbacks.CyclicalMomentum` says. "
                f"Received: {which}={describe(schedule)}"
            )
        height = ops.convert_to_numpy(wave.height(integer_step(t)))
        curves[name] = _thinned(t, against(height.astype("float64"), *momentum))
    return curves


def _evaluated_steps(steps, most):
    if steps <= most:
        return np.arange(steps)
    return np.unique(np.linspace(0, steps - 1, most).astype("int64"))


def _thinned(t, values, columns=2000):
    """Of many points those that can be seen, even where they are looked at closely.

    In each column of points the two ends, the lowest and the highest point, and both sides of the
    largest jump.
    """
    size = len(t) // columns
    if size <= 6:
        return t, values
    whole = size * columns
    table = values[:whole].reshape(columns, size)
    begins = np.arange(columns) * size
    jumps = begins + np.abs(np.diff(table)).argmax(1)
    extremes = [begins + table.argmin(1), begins + table.argmax(1)]
    rest = np.arange(whole, len(t))
    shown = [begins, begins + size - 1, *extremes, jumps, jumps + 1, rest]
    shown = np.unique(np.concatenate(shown))
    return t[shown], values[shown]


def _axes(plt, ax, with_momentum):
    """The Axes for the rates, and those for the momentum or None."""
    if ax is None:
        if not with_momentum:
            return plt.subplots(figsize=(8, 4.5), layout="constrained")[1], None
        heights = {"height_ratios": (3, 2)}
        _, axes = plt.subplots(
            2, 1, sharex=True, figsize=(8, 6), layout="constrained", gridspec_kw=heights
        )
        return axes[0], axes[1]
    if not isinstance(ax, plt.Axes):
        raise TypeError(
            "Argument `ax` must be a Matplotlib Axes. "
            f"Received: ax={_arguments.shown(ax)} of type {type(ax).__name__}"
        )
    if not with_momentum:
        return ax, None
    return ax, _axes_below(ax)


def _axes_below(ax):
    """New Axes that take the lower part of the room that `ax` had."""
    place = ax.get_subplotspec()
    if place is not None:
        above, below = place.subgridspec(2, 1, height_ratios=(3, 2))
        ax.set_subplotspec(above)
        return ax.figure.add_subplot(below, sharex=ax)
    left, bottom, width, height = ax.get_position().bounds
    ax.set_position((left, bottom + 0.45 * height, width, 0.55 * height))
    return ax.figure.add_axes((left, bottom, width, 0.37 * height), sharex=ax)


def _label(ax, momentum_ax, unit):
    ax.set_ylabel("learning rate")
    ax.grid(alpha=0.3)
    if momentum_ax is None:
        ax.set_xlabel(unit)
        return
    ax.tick_params(labelbottom=False)
    ax.set_xlabel("")
    momentum_ax.set_xlabel(unit)
    momentum_ax.set_ylabel("momentum")
    momentum_ax.grid(alpha=0.3)
