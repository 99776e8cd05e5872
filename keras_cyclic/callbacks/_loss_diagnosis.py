"""When each rule on the losses of a training is asked, and the words for what it finds."""

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from keras_cyclic.callbacks._loss_rules import (
    Curve,
    FirstEpoch,
    jumping,
    overfitting,
    rising,
    too_slow,
)

# Findings that were said are not said again before they have been gone for so many judgements.
QUIET = 10


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the losses suggested at the end of an epoch.

    Attributes:
        epoch: The epoch, counted from 0 as in `History.epoch`.
        kind: `"not_finite"`, `"rising"`, `"jumping"`, `"overfitting"` or `"too_slow"`.
        message: What it means and what to do, in words.
        numbers: A dict of the numbers that triggered it.
    """

    epoch: int
    kind: Literal["not_finite", "rising", "jumping", "overfitting", "too_slow"]
    message: str
    numbers: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """See `LossDiagnostics`, whose arguments they are."""

    patience: int
    min_fall: float
    max_rise: float
    max_validation_rise: float
    max_jump: float


# In the order in which they are asked: of those with the same group, the first that holds counts.
RULES = (
    (
        "rising",
        rising,
        "fit",
        "The training loss rises: {loss:.4g} now, after {best:.4g} in {best_at}. "
        "The learning rate is too high. Divide it by 10: {rate}.",
    ),
    (
        "jumping",
        jumping,
        "fit",
        "The training loss jumps up and down: between {lowest:.4g} and {highest:.4g} at the last "
        "{count} {unit} ends, by {jump:.4g} from one to the next, with {turns} turns. It began at "
        "{start:.4g}. Lower the learning rate ({rate}) or take larger batches.",
    ),
    (
        "overfitting",
        overfitting,
        "generalization",
        "The model over-fits: the validation loss has risen from {best:.4g} in epoch {best_epoch} "
        "to {validation:.4g}, while the training loss fell from {training_then:.4g} to "
        "{training:.4g}. Regularize more (weight decay, dropout, augmentation, more data), or stop "
        "at epoch {best_epoch}.",
    ),
    (
        "too_slow",
        too_slow,
        "fit",
        "The training loss hardly falls: from {first:.4g} to {loss:.4g}, by {percent:.2g}% in "
        "{epochs} epochs, and from the start. The learning rate is too low, or the training is "
        "stuck: raise the rate ten times ({raised}), find one with LRRangeTest, or restart at a "
        "high rate (CosineAnnealingWarmRestarts).",
    ),
)


class Diagnosis:
    """Reads the losses as they come and says each finding when it appears.

    Args:
        thresholds: The `Thresholds`.
        pace: The `Pace`.
        untrained: Whether the model had no training before.
    """

    def __init__(self, thresholds, pace, untrained=True):
        self._thresholds = thresholds
        self._pace = pace
        self._untrained = untrained
        self._epochs, self._training, self._validation = [], [], []
        self._last_held = {}
        self._judgements = 0
        self.first = FirstEpoch()

    def add(self, epoch, training, validation=math.nan):
        """Takes the losses of an epoch whose end is to be judged, or which is the first.

        Args:
            epoch: Its number, from 0.
            training: The training loss.
            validation: The validation loss, NaN if there is none.

        Returns:
            A list of pairs: a kind, and a dict of the numbers that speak for it.
        """
        # What is not finite has a rule of its own.
        if not math.isfinite(training):
            return []
        self._epochs.append(epoch)
        self._training.append(training)
        self._validation.append(validation if math.isfinite(validation) else math.nan)
        self._judgements += 1
        curve = Curve(
            np.array(self._epochs),
            np.array(self._training, "float64"),
            np.array(self._validation, "float64"),
            self.first,
            self._untrained,
            self._pace,
        )
        new, groups = [], set()
        for kind, rule, group, _ in RULES:
            # A rate that was once too high is not too low: what is slow since has another reason.
            if kind == "too_slow" and self._last_held.keys() & {"rising", "jumping"}:
                continue
            numbers = None if group in groups else rule(curve, self._thresholds)
            if numbers is None:
                continue
            groups.add(group)
            if self._judgements - self._last_held.get(kind, -math.inf) > QUIET:
                new.append((kind, {name: _plain(value) for name, value in numbers.items()}))
            self._last_held[kind] = self._judgements
        return new

    def message(self, kind, numbers, rates):
        """The words for a finding.

        Args:
            kind: Its kind.
            numbers: Its numbers.
            rates: The learning rates of the groups of the optimizer, a list of floats.
        """
        text = next(text for name, _, _, text in RULES if name == kind)
        return text.format(
            unit=self._pace.unit,
            rate=change_of(rates, 0.1),
            raised=change_of(rates, 10),
            **numbers,
        )


def change_of(rates, factor):
    """Words for rates that are to be multiplied."""
    return ", ".join(f"from {rate:.4g} to {rate * factor:.4g}" for rate in dict.fromkeys(rates))


def _plain(value):
    return value if isinstance(value, (int, str)) else float(value)
