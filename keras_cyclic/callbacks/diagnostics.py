"""Says in words what the losses of a training suggest."""

import math

import keras
import numpy as np
from keras import ops

from keras_cyclic import _arguments
from keras_cyclic._config import Configurable
from keras_cyclic._readings import bring_up_to_date, learning_rate_now, steps_made
from keras_cyclic._types import Integer, Logs, Real
from keras_cyclic.callbacks._cycle_position import CyclePosition
from keras_cyclic.callbacks._loss_diagnosis import Diagnosis, Finding, Thresholds, change_of
from keras_cyclic.callbacks._loss_rules import CYCLES, EPOCHS, FirstEpoch
from keras_cyclic.hyperparameters import real_optimizers_of
from keras_cyclic.schedules.clock import integer_step
from keras_cyclic.schedules.schedule import KerasSchedule, check_schedule, cycles_of, evaluate

_MOST_BATCHES = 1000


@keras.saving.register_keras_serializable(package="keras_cyclic")
class LossDiagnostics(Configurable, keras.callbacks.Callback):
    """Reads the losses of a training and says what they suggest, and what to do.

    | kind | the losses | advice |
    |---|---|---|
    | `"not_finite"` | NaN or infinite, said at the batch | divide the rate by 10 |
    | `"rising"` | training loss clearly above its best, and staying there | divide the rate by 10 |
    | `"jumping"` | training loss up and down by much of what it has gained | lower the rate, or \
larger batches |
    | `"overfitting"` | training loss falling, validation loss risen | more regularization |
    | `"too_slow"` | training loss hardly falling, from the start | a higher rate, or a warm \
restart |

    A learning rate with cycles is judged at the first epoch end at or after each cycle's end, and
    cycle is compared with cycle, since the loss is meant to be worse in between; any other rate
    is judged at each epoch's end. A finding is said when it appears, and not again before it has
    been gone for a while. A training that has converged is not called too slow: its loss fell
    before, or within the first epoch.

    What counts as much is measured by the loss itself, by how far it fell and how it scatters, so
    that losses may be negative and have any offset. Put it before callbacks that may raise, such
    as `TerminateOnNaN(raise_error=True)`.

    Args:
        patience: Epochs that must have passed before the loss is said to fall too slowly.
            Defaults to `10`.
        min_fall: The share of its first value by which the training loss must fall in these.
            Defaults to `0.05`.
        max_rise: The share of its fall that the training loss may lose. Defaults to `0.25`.
        max_validation_rise: The share of the larger fall, the training's or its own, by which
            the validation loss may rise. Defaults to `0.05`.
        max_jump: The share of its fall by which the training loss may go up and down. Defaults
            to `0.15`.
        schedule: The schedule whose cycles count. Defaults to the optimizer's own.
        verbose: Whether to print the findings. Defaults to `1`.

    Raises:
        ValueError: If `patience` is not a whole number of 1 or more, or a share not above 0; at
            the start of `fit`, if the groups of a `MultiOptimizer` have different cycles.
        TypeError: If an argument is of the wrong type.

    Attributes:
        findings: A list of the findings of the latest `fit`, each with `epoch` (from 0), `kind`,
            `message` and `numbers`, a dict.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_cyclic as kc
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(100.0), "mse")
    >>> x = np.random.normal(size=(640, 4))
    >>> diagnostics = kc.callbacks.LossDiagnostics(verbose=0)
    >>> history = model.fit(x, x.sum(axis=1), verbose=0, callbacks=[diagnostics])
    >>> finding = diagnostics.findings[0]
    >>> finding.kind
    'not_finite'
    >>> print(finding.message)
    The training loss is inf in batch 9. The learning rate is too high. Divide it by 10: from 100
    to 10.
    """

    def __init__(
        self,
        patience: Integer = 10,
        min_fall: Real = 0.05,
        max_rise: Real = 0.25,
        max_validation_rise: Real = 0.05,
        max_jump: Real = 0.15,
        schedule: KerasSchedule | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self.patience = _arguments.length("patience", patience)
        self.min_fall = _arguments.positive("min_fall", min_fall)
        self.max_rise = _arguments.positive("max_rise", max_rise)
        self.max_validation_rise = _arguments.positive("max_validation_rise", max_validation_rise)
        self.max_jump = _arguments.positive("max_jump", max_jump)
        self.schedule = schedule if schedule is None else check_schedule("schedule", schedule)
        self.verbose = verbose
        self.findings: list[Finding] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        self.findings = []
        self._not_finite: set[str] = set()
        self._epoch: int | None = None
        self._batch_means: dict[int, float] = {}
        self._optimizers = real_optimizers_of(self.model)
        rates = [self.schedule] if self.schedule else [o._learning_rate for o in self._optimizers]
        self._position = None
        if any(cycles_of(rate) is not None for rate in rates):
            self._position = CyclePosition(self.model, "LossDiagnostics", self.schedule)
            self._find_end(self._position.step())
        untrained = self._steps() == 0
        self._diagnosis = self._new_diagnosis(CYCLES if self._position else EPOCHS, untrained)
        self._first_epoch = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if self._first_epoch and len(self._batch_means) < _MOST_BATCHES:
            self._batch_means[batch] = loss
        if not math.isfinite(loss) and "loss" not in self._not_finite:
            self._say_not_finite("loss", loss, batch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        for name in ("loss", "val_loss"):
            value = logs.get(name)
            if value is None:
                continue
            if math.isfinite(value):
                self._not_finite.discard(name)
            # With a training loss that is not finite, the validation loss tells nothing more.
            elif not self._not_finite:
                self._say_not_finite(name, value)
        if logs.get("loss") is None:
            return
        judged = self._is_judged()
        if self._first_epoch:
            self._diagnosis.first = FirstEpoch.of(_batch_losses(self._batch_means))
        if judged or self._first_epoch:
            found = self._diagnosis.add(epoch, logs["loss"], logs.get("val_loss", math.nan))
            for kind, numbers in found:
                self._say(kind, self._diagnosis.message(kind, numbers, self._rates()), numbers)
        self._first_epoch = False
        if judged and self._position:
            self._find_end(self._position.step())

    def _new_diagnosis(self, pace, untrained):
        thresholds = Thresholds(
            self.patience, self.min_fall, self.max_rise, self.max_validation_rise, self.max_jump
        )
        return Diagnosis(thresholds, pace, untrained)

    def _find_end(self, step):
        """Notes the cycle that `step` is in. Without an end, epochs count from here on."""
        cycles = self._position.cycles
        index = cycles.index(step)
        self._start, self._end = cycles.start(index), cycles.start(index + 1)
        if self._end is None:
            self._position = None
            self._diagnosis = self._new_diagnosis(EPOCHS, untrained=False)

    def _is_judged(self):
        return self._position is None or self._position.step() >= self._end

    def _steps(self):
        bring_up_to_date(self.model)
        return steps_made(self._optimizers[0])

    def _rates(self, now=False):
        """The present rates of the optimizers, or the highest ones of the cycle that has ended."""
        bring_up_to_date(self.model)
        rates = []
        for optimizer in self._optimizers:
            rate = optimizer._learning_rate
            if self._position and not now and isinstance(rate, KerasSchedule):
                steps = np.unique(np.linspace(self._start, self._end - 1, 1000).astype("int64"))
                rates.append(np.max(ops.convert_to_numpy(evaluate(rate, integer_step(steps)))))
            else:
                rates.append(learning_rate_now(optimizer))
        return [float(rate) for rate in rates]

    def _say_not_finite(self, name, value, batch=None):
        self._not_finite.add(name)
        rate = change_of(self._rates(now=True), 0.1)
        where = "" if batch is None else f" in batch {batch + 1}"
        if name == "val_loss":
            message = (
                f"The validation loss is {value}. The learning rate is too high, or the validation "
                f"data has values that are not finite. If it has none, divide the rate by 10: "
                f"{rate}."
            )
        elif self._first_epoch and batch == 0:
            message = (
                f"The training loss is {value}{where}, before the first step of this training. "
                "Look for values that are not finite in the data and in the weights; if there are "
                f"none, divide the learning rate by 10: {rate}."
            )
        else:
            message = (
                f"The training loss is {value}{where}. The learning rate is too high. Divide it by "
                f"10: {rate}."
            )
        self._say("not_finite", message, {name: value})

    def _say(self, kind, message, numbers):
        self.findings.append(Finding(self._epoch, kind, message, numbers))
        if self.verbose:
            print(f"\nEpoch {self._epoch + 1}: {message}")


def _batch_losses(means):
    """The losses of single batches, from the running means that Keras gives after each."""
    if not all(map(math.isfinite, means.values())):
        return []
    ends = np.array(sorted(means), "float64") + 1
    sums = ends * np.array([means[batch] for batch in sorted(means)], "float64")
    return np.diff(sums, prepend=0.0) / np.diff(ends, prepend=0.0)
