"""What the losses of a training suggest: rules on plain numbers, without Keras.

All scales are the training's own: how far the loss has fallen since its start, and how much it
scatters. A loss may be negative and have any offset. Its size counts only where nothing else
tells how much is much, and then something else must speak for the finding too.
"""

import dataclasses
import math

import numpy as np

RECENT = 20


@dataclasses.dataclass(frozen=True)
class Pace:
    """How many judgements make a finding. The end of a cycle says more than that of an epoch."""

    unit: str
    rising: int
    overfitting: int
    jumping: int


EPOCHS = Pace("epoch", rising=3, overfitting=5, jumping=9)
CYCLES = Pace("cycle", rising=1, overfitting=1, jumping=6)


@dataclasses.dataclass(frozen=True)
class FirstEpoch:
    """What the single batches of the first epoch tell about the loss's scale.

    Attributes:
        start: The loss before the training had an effect.
        error: The standard error of an epoch's mean, if batches were drawn at random.
        fell: Whether the loss fell clearly within the epoch.
        rose: Whether the first batch's loss was the lowest of all, which is then the start.
        exploded: Whether the epoch was far above its first batch.
    """

    start: float = -math.inf
    error: float = 0.0
    fell: bool = False
    rose: bool = False
    exploded: bool = False

    @classmethod
    def of(cls, batch_losses):
        """From the losses of the batches in their order, as many as are known."""
        losses = np.asarray(batch_losses, "float64")
        if len(losses) < 8 or not np.all(np.isfinite(losses)):
            return cls()
        early, late = losses[: min(8, len(losses) // 4)], losses[len(losses) // 2 :]
        spread = np.std(late, ddof=1)
        far = len(losses) >= 16 and np.mean(late) > losses[0] + 3 * spread
        rose = len(losses) >= 16 and losses[0] < min(losses[1:])
        # The spread of an explosion is as large as the explosion, and so the size must tell.
        rise = np.mean(losses) - losses[0]
        grows = rose and rise > 10 * abs(losses[0])
        grows |= min(late) > max(early) and rise > 100 * abs(losses[0])
        fall_error = spread * math.sqrt(1 / len(early) + 1 / len(late))
        return cls(
            start=float(losses[0] if rose or far or grows else np.mean(early)),
            error=float(spread / math.sqrt(len(losses))),
            # Fewer batches do not tell their spread well; then the epoch's mean shows a fall.
            fell=bool(len(losses) >= 16 and np.mean(early) - np.mean(late) > 4 * fall_error),
            rose=bool(rose or far or grows),
            exploded=bool(far or grows),
        )


@dataclasses.dataclass(frozen=True)
class Curve:
    """The losses up to now, at the first epoch's end and at each that is judged.

    Attributes:
        epochs: Their numbers.
        training: The training losses, finite.
        validation: The validation losses, NaN where there is none.
        first: The `FirstEpoch`.
        untrained: Whether the first epoch is that of a model without training.
        pace: The `Pace`.
    """

    epochs: np.ndarray
    training: np.ndarray
    validation: np.ndarray
    first: FirstEpoch
    untrained: bool
    pace: Pace

    @property
    def start(self):
        """The loss before training; an explosion in the first epoch says nothing about it."""
        return self.first.start if self.first.rose else max(self.first.start, self.training[0])


def rising(curve, thresholds):
    """The training loss stays clearly above its best, or explodes."""
    losses, last = curve.training, curve.pace.rising
    if (len(losses) == 1 and curve.first.exploded) or _stays_above_start(curve, last):
        return {"loss": losses[-1], "best": curve.first.start, "best_at": "the first batch"}
    if not _stays_above(curve, last, thresholds.max_rise) and not _explodes(curve, min(last, 2)):
        return None
    best = int(np.argmin(losses))
    return {
        "loss": losses[-1],
        "best": losses[best],
        "best_at": f"epoch {curve.epochs[best] + 1}",
    }


def _stays_above(curve, last, max_rise):
    losses = curve.training
    if len(losses) < last + 1:
        return False
    best = int(np.argmin(losses[:-last]))
    # Where the noise is unknown, it takes many rises in a row, which noise would hardly make.
    rises_on = len(losses) > 5 and np.all(np.diff(losses[-6:]) > 0)
    if best < 4 and curve.first.error == 0 and not rises_on:
        return False
    margin = max_rise * (curve.start - losses[best])
    margin += 5 * _noise(losses[: best + 1], curve.first.error)
    rise = losses[best:] - losses[best]
    return np.all(rise[-last:] > margin) and rise[-1] >= max(rise) / 2


def _stays_above_start(curve, last):
    # The spread of batches that has exploded tells nothing, and so the loss's size must.
    limit = curve.start + abs(curve.start) / 2
    return curve.first.rose and len(curve.training) > last and min(curve.training[-last:]) > limit


def _explodes(curve, last):
    losses = curve.training
    if len(losses) < last + 1:
        return False
    best = min(losses[:-last])
    limit = losses[0] + curve.start - best + 3 * abs(best)
    return np.all(losses[-last:] > limit) and losses[-1] >= losses[-2]


def jumping(curve, thresholds):
    """The training loss goes up and down by much of what it has gained."""
    losses = curve.training[-curve.pace.jumping :]
    if len(losses) < curve.pace.jumping:
        return None
    steps = np.diff(losses)
    turns = int(np.sum(steps[1:] * steps[:-1] < 0))
    jump, middle = np.median(np.abs(steps)), np.median(losses)
    fall = curve.start - middle
    if fall > 3 * jump:
        much = jump > thresholds.max_jump * fall
    else:
        # With no fall to compare with, as where there is nothing to learn.
        much = curve.untrained and jump > thresholds.max_jump * abs(middle)
    if turns < len(steps) // 2 or not much:
        return None
    return {
        "jump": jump,
        "lowest": min(losses),
        "highest": max(losses),
        "start": curve.start,
        "turns": turns,
        "count": len(losses),
    }


def overfitting(curve, thresholds):
    """The validation loss has risen clearly while the training loss went on falling."""
    known = np.isfinite(curve.validation)
    validation, training = curve.validation[known], curve.training[known]
    last = curve.pace.overfitting
    if len(validation) < last + min(last, 2):
        return None
    best = int(np.argmin(validation[:-last]))
    fall = max(validation[0] - validation[best], curve.start - min(curve.training))
    tail, gained = validation[-last:], training[best] - np.mean(training[-last:])
    # A rise that is small against what the training gained meanwhile is no reason to stop.
    margin = max(thresholds.max_validation_rise * fall, gained / 10, 4 * _noise(validation, 0.0))
    goes_on = np.mean(tail[-(-last // 2) :]) >= np.mean(tail[: -(-last // 2)]) if last > 1 else True
    if not (np.all(tail > validation[best] + margin) and goes_on and gained > 0):
        return None
    return {
        "validation": validation[-1],
        "best": validation[best],
        "best_epoch": int(curve.epochs[known][best]) + 1,
        "training": training[-1],
        "training_then": training[best],
    }


def too_slow(curve, thresholds):
    """From the start, the training loss has hardly fallen, and does not fall ever more slowly.

    A training that has converged fell much before, or within its first epoch.
    """
    losses, epochs = curve.training, curve.epochs
    if not curve.untrained or curve.first.fell:
        return None
    if len(losses) < 4 or epochs[-1] - epochs[0] < thresholds.patience:
        return None
    third = max(len(losses) // 3, 1)
    parts = losses[:third], losses[third:-third], losses[-third:]
    times = epochs[:third], epochs[third:-third], epochs[-third:]
    (early, middle, late), centres = map(np.median, parts), [np.mean(part) for part in times]
    fall, noise = losses[0] - late, _noise(losses, 0.0)
    if fall >= thresholds.min_fall * abs(losses[0]):
        return None
    if abs(fall) <= 2 * noise or np.ptp(losses) == 0:
        slow = np.ptp(losses) < thresholds.min_fall * abs(losses[0])
    else:
        speeds = (
            (early - middle) / (centres[1] - centres[0]),
            (middle - late) / (centres[2] - centres[1]),
        )
        slow = speeds[0] > 0 and 0.7 < speeds[1] / speeds[0] < 2
    if not slow:
        return None
    return {
        "first": losses[0],
        "loss": losses[-1],
        "epochs": int(epochs[-1] - epochs[0]) + 1,
        "percent": 100 * (losses[0] - losses[-1]) / abs(losses[0]),
    }


def _noise(values, least):
    """The standard deviation of the latest values about any smooth curve, at least `least`."""
    values = values[-RECENT:]
    if len(values) < 4:
        return least
    return max(least, float(1.4826 * np.median(np.abs(np.diff(values, 2))) / math.sqrt(6)))
