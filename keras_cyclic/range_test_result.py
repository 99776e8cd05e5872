"""What a learning-rate range test found: its losses, and the rates that they suggest."""

import functools
import json
import math
import os
import pathlib
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_cyclic import _arguments
from keras_cyclic._files import whole_file
from keras_cyclic._loss_curve import LEAST_POINTS, RESOLUTION, LossCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self

_FORMAT = "keras_cyclic.RangeTestResult"
_VERSION = 1


class RangeTestResult:
    """The losses of a learning-rate range test, one per step, and what they suggest.

    `LRRangeTest` and `lr_range_test` make it. The smoothed losses come from straight lines fitted
    around each step, with Gaussian weights 0.2 decades of the learning rate wide to each side: a
    running average would trail behind the losses, and so suggest rates that are too high.

    Args:
        learning_rates: The learning rate of each step, increasing.
        losses: The loss of each step. After `diverged` the last one may be infinite or NaN.
        diverged: Whether the test ended because the loss exploded. Defaults to `False`.
        loss_name: What the losses are, for the plot. Defaults to `"loss"`.

    Raises:
        ValueError: If the rates are not positive, finite and increasing, or not as many as the
            losses.
        TypeError: If an argument is of the wrong type.

    Attributes:
        learning_rates: The learning rates, a NumPy array.
        losses: The losses, a NumPy array.
        smoothed_losses: The losses without their noise, a NumPy array.
        diverged: Whether the test ended because the loss exploded.

    Example:

    >>> import numpy as np
    >>> import keras_cyclic as kc
    >>> rates = np.logspace(-6, 0, 100)
    >>> result = kc.RangeTestResult(rates, losses=2 / (1 + 1e3 * rates) + rates)
    >>> bool(1e-4 < result.suggest() < 1e-2)
    True
    >>> base_lr, max_lr = result.bounds()
    >>> bool(base_lr < max_lr < 0.1)
    True

    References:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    - [Smith and Topin, 2018](https://arxiv.org/abs/1708.07120)
    """

    def __init__(
        self,
        learning_rates: ArrayLike,
        losses: ArrayLike,
        diverged: bool = False,
        loss_name: str = "loss",
    ) -> None:
        self.learning_rates: NDArray[np.float64] = _arguments.floats(
            "learning_rates", learning_rates
        )
        self.losses: NDArray[np.float64] = _arguments.floats("losses", losses)
        self.diverged = _arguments.boolean("diverged", diverged)
        self.loss_name = loss_name
        if self.learning_rates.ndim != 1 or self.learning_rates.shape != self.losses.shape:
            raise ValueError(
                "Arguments `learning_rates` and `losses` must be lists of equal length. Received "
                f"shapes: {self.learning_rates.shape} and {self.losses.shape}"
            )
        edges = np.array([0.0, *self.learning_rates, np.inf])
        if not np.all(edges[1:] > edges[:-1]):
            raise ValueError(
                "Argument `learning_rates` must be positive and increasing, and finite. "
                f"Received: learning_rates={_arguments.shown(learning_rates)}"
            )

    @functools.cached_property
    def smoothed_losses(self) -> NDArray[np.float64]:
        finite = np.isfinite(self.losses)
        smoothed = np.full(len(self.losses), np.nan)
        if finite.any():
            smoothed[finite] = self._curve.smoothed
        return smoothed

    @functools.cached_property
    def _curve(self):
        finite = np.isfinite(self.losses)
        return LossCurve.of(self.learning_rates[finite], self.losses[finite], self.diverged)

    def suggest(self, method: Literal["steepest", "valley", "minimum"] = "steepest") -> float:
        """The learning rate that the losses suggest.

        ```
        steepest: the middle of the rates where d(smoothed loss) / d(log rate) is at least half
                  of what it is at its steepest, at most the `max_lr` of `bounds()`
        valley:   the middle of the longest series of falling smoothed losses, as in fastai
        minimum:  a tenth of the rate where the smoothed loss is lowest
        ```

        Args:
            method: `"steepest"`, `"valley"` or `"minimum"`. Defaults to `"steepest"`.

        Returns:
            A learning rate, a float.

        Raises:
            ValueError: If the losses support no answer: too few of them, the first not finite,
                or none clearly below the first. The text says what to change.
        """
        _arguments.choice("method", method, ("steepest", "valley", "minimum"))
        curve = self._falling_curve()
        if method == "minimum":
            return float(10 ** curve.positions[curve.lowest] / 10)
        if method == "valley":
            start, end = _longest_fall(curve.smoothed)
            return float(10 ** curve.positions[start + (end - start) // 3 + (end - start) // 6])
        slopes = curve.slopes[curve.start : curve.lowest + 1]
        steepest = int(np.argmin(slopes))
        gentle = np.flatnonzero(slopes > slopes[steepest] / 2)
        first = max(gentle[gentle < steepest], default=-1) + 1
        last = min(gentle[gentle > steepest], default=len(slopes)) - 1
        middle = np.mean(curve.positions[[curve.start + first, curve.start + last]])
        return min(float(10**middle), self.bounds()[1])

    def bounds(self) -> tuple[float, float]:
        """The two bounds for a cyclical learning rate.

        `base_lr` is where the smoothed loss has clearly begun to fall: by a twentieth of its
        whole fall and by six times its standard error, but at most a third of `max_lr`.
        `max_lr` is a tenth of the rate after which the loss rises to the end of the test, where it
        still falls steadily: instability needs some steps to grow until the loss shows it, in
        which the test's rate has climbed past the limit of stability. Where the loss falls to
        nothing before that, `max_lr` is at most a third of the rate where it does; where the
        test ends before a rise, a tenth of its highest rate (then test up to a higher one).

        Returns:
            `(base_lr, max_lr)`, two floats.

        Raises:
            ValueError: If the losses support no answer: too few of them, the first not finite,
                or none clearly below the first. The text says what to change.
        """
        curve = self._falling_curve()
        max_lr = 10 ** curve.positions[curve.rise] / 10
        start = curve.smoothed[curve.start]
        gone = np.flatnonzero(np.abs(curve.smoothed) <= 2 * RESOLUTION * abs(start))
        if len(gone):
            max_lr = min(max_lr, 10 ** curve.positions[gone[0]] / 3)
        fall = start - curve.smoothed
        errors = np.hypot(curve.errors, curve.errors[curve.start])
        clear = np.maximum(fall[curve.lowest] / 20, 6 * errors)
        not_clear = np.flatnonzero(fall[: curve.lowest] < clear[: curve.lowest])
        base_lr = 10 ** curve.positions[not_clear[-1] + 1]
        return float(min(base_lr, max_lr / 3)), float(max_lr)

    def _falling_curve(self):
        """The curve, if it supports an answer."""
        if len(self.losses) and not math.isfinite(self.losses[0]):
            raise ValueError(
                f"The first loss is {self.losses[0]}, so no rate can be suggested. Look for NaN or "
                "infinite values in the data and in the model's weights."
            )
        count = int(np.isfinite(self.losses).sum())
        if count < LEAST_POINTS:
            raise ValueError(
                f"The range test recorded {count} finite losses, and a suggestion needs at least "
                f"{LEAST_POINTS}. "
                + (
                    "It diverged: begin at a lower `min_lr`, or take more `steps`."
                    if self.diverged
                    else "Take more `steps`, and give data for them."
                )
            )
        curve = self._curve
        start, lowest = curve.smoothed[[curve.start, curve.lowest]]
        error = math.hypot(*curve.errors[[curve.start, curve.lowest]])
        # The lowest of many noisy values is low by itself, but no noise rises at the end.
        seen_to_rise = curve.rise < len(curve.smoothed) - 1
        chance = (3 if seen_to_rise else 6) * error
        if start - lowest <= max(chance, 1e-4 * abs(start)) or lowest >= curve.smoothed[0]:
            raise ValueError(
                f"The loss never falls clearly: from {start:.4g} to {lowest:.4g} at the lowest, "
                f"with a standard error of {error:.2g}. Test a wider range, from a lower `min_lr` "
                "to a higher `max_lr`; against noise, take more `steps`, larger batches or "
                "`validation_data`."
            )
        return curve

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the losses over the learning rate, with the suggestion and the bounds.

        Args:
            ax: The Matplotlib Axes to draw on. Defaults to new ones.

        Returns:
            The Matplotlib Axes.

        Raises:
            ImportError: If Matplotlib is not installed.
        """
        # Matplotlib is optional, so only what draws may import it.
        from keras_cyclic import plotting

        return plotting.plot_range_test(self, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result to a JSON file, which appears whole or not at all.

        Args:
            path: The file's path. Folders are made.
        """
        # JSON knows no NaN and no infinity: as strings they are read by `float` like the rest.
        losses = [loss if math.isfinite(loss) else str(loss) for loss in self.losses.tolist()]
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "learning_rates": self.learning_rates.tolist(),
            "losses": losses,
            "diverged": self.diverged,
            "loss_name": self.loss_name,
        }
        with whole_file(path) as written:
            pathlib.Path(written).write_text(json.dumps(content, allow_nan=False), "utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Self":
        """Reads a result that `save` wrote, in this version or an earlier one.

        Args:
            path: The file's path.

        Returns:
            A `RangeTestResult`.

        Raises:
            ValueError: If the file is no saved result, or a later version's.
        """
        not_saved = (
            "Argument `path` must be a file that `RangeTestResult.save` wrote. "
            f"Received: path={path!r}"
        )
        try:
            content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(not_saved)
        version = content.get("version")
        if isinstance(version, int) and version > _VERSION:
            raise ValueError(
                f"The file {str(path)!r} has version {version} of the format, and this "
                f"keras_cyclic reads up to version {_VERSION}. Upgrade keras_cyclic."
            )
        try:
            return cls(
                content["learning_rates"],
                [float(loss) for loss in content["losses"]],
                content["diverged"],
                content["loss_name"],
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{not_saved}, which cannot be read: {error}") from error

    def __repr__(self) -> str:
        rates = self.learning_rates
        span = f", learning rates {rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) else ""
        return f"<RangeTestResult: {len(rates)} steps{span}, diverged={self.diverged}>"


def _longest_fall(values):
    """The longest decreasing subsequence, as its last index less its length, and its last index.

    That its start is counted back from its end, even where it skips values, is fastai's way.
    """
    lengths = np.ones(len(values), int)
    for i in range(1, len(values)):
        longer = lengths[:i][values[:i] > values[i]]
        lengths[i] = 1 + max(longer, default=0)
    end = int(np.argmax(lengths))
    return max(end - int(lengths[end]), 0), end
