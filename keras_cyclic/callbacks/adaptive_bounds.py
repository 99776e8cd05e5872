"""Moving the bounds of a cyclical learning rate when a whole cycle has brought nothing."""

import math
from typing import Any, Literal

import keras
from keras.src.utils import io_utils

from keras_cyclic import _arguments
from keras_cyclic._borrowed_learning_rates import own_learning_rate
from keras_cyclic._config import describe
from keras_cyclic._types import Integer, Logs, Real
from keras_cyclic._wrapped_optimizers import real_optimizers
from keras_cyclic.callbacks._adjusted_rates import after_adjustment, replace_rates
from keras_cyclic.callbacks._cycle_end import CycleEndCallback
from keras_cyclic.schedules.adjustable import with_movable_bounds


@keras.saving.register_keras_serializable(package="keras_cyclic")
class AdaptiveBounds(CycleEndCallback):
    """Lowers the bounds of a cyclical learning rate when cycles bring no improvement.

    At the end of each cycle, the best value logged in it is compared with the best one before it.
    After `patience` cycles in a row without an improvement, and from the next step on:

    ```
    max_lr  = max(max_lr * factor, min_lr, base_lr)       bound "max"
    base_lr = max(base_lr * factor, min_lr)               bound "base"
    ```

    or both; a bound that is at or below `min_lr` stays. The phase of the cycle is not disturbed,
    and the compiled step is not compiled again.

    The learning rate must be a cyclical schedule (`Cyclical`, `Triangular`, `Triangular2`,
    `ExpRange`) or `CosineAnnealingWarmRestarts`, whose `final_lr` is the base and `initial_lr` the
    maximum, or a composition of such with others. Cycles need not end with an epoch. What is logged
    at the end of an epoch counts for the cycle of the step before it; a cycle in which nothing was
    logged is not judged. With `steps_per_execution`, the bounds are moved between two executions.

    The rate of each epoch's end is logged as `learning_rate` (`learning_rate_<name>` for each group
    of a `MultiOptimizer`). The moved bounds and the counters are saved with the model and its
    weights, as those of `ReduceLROnPlateau` are.

    Args:
        monitor: The name of the logged value to watch. Defaults to `"val_loss"`.
        factor: What the bounds are multiplied by, above 0 and below 1. Defaults to `0.5`.
        patience: How many cycles without improvement it takes. Defaults to `1`.
        mode: `"min"` if lower values are better, `"max"` if higher ones are, `"auto"` to tell
            from the metric. Defaults to `"auto"`.
        min_delta: How much better a value must be to count as an improvement. Defaults to `1e-4`.
        min_lr: The learning rate that no bound is taken below, before a multiple of the schedule.
            Defaults to `0.0`.
        bound: `"max"`, `"base"` or `"both"`. Defaults to `"max"`.
        verbose: 1 to print a line for each change. Defaults to `0`.

    Raises:
        ValueError: If a number is out of range, or `mode` or `bound` unknown; at the start of
            `fit`, if the learning rate is not cyclical.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras, numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> rate = kc.schedules.Triangular(base_lr=0.01, max_lr=0.08, step_size=4)
    >>> model.compile(keras.optimizers.SGD(rate), "mse")
    >>> bounds = kc.callbacks.AdaptiveBounds("loss", min_delta=1e3, verbose=1)
    >>> x, y = np.ones((8, 4)), np.ones((8, 1))
    >>> history = model.fit(x, y, batch_size=1, epochs=3, verbose=0, callbacks=[bounds])
    <BLANKLINE>
    Epoch 2: AdaptiveBounds, after cycle 2: max_lr from 0.08 to 0.04.
    <BLANKLINE>
    Epoch 3: AdaptiveBounds, after cycle 3: max_lr from 0.04 to 0.02.

    Reference:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    """

    remembers = (*CycleEndCallback.remembers, "best_of_cycle")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: Real = 0.5,
        patience: Integer = 1,
        mode: Literal["auto", "min", "max"] = "auto",
        min_delta: Real = 1e-4,
        min_lr: Real = 0.0,
        bound: Literal["max", "base", "both"] = "max",
        verbose: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        self.factor = _arguments.fraction("factor", factor)
        self.patience = _arguments.count("patience", patience)
        self.min_lr = _arguments.rate("min_lr", min_lr)
        self.bound = _arguments.choice("bound", bound, ("max", "base", "both"))
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.best_of_cycle: float | None = None

    def attach(self) -> None:
        replace_rates(self.model, lambda rate: with_movable_bounds(rate)[0])

    def _waves(self):
        return _waves_in(o._learning_rate for o in real_optimizers(self.model.optimizer))

    def snapshot(self) -> dict[str, Any]:
        # During a later `fit_one_cycle`, too, the model is saved with its own rate.
        waves = _waves_in(map(own_learning_rate, real_optimizers(self.model.optimizer)))
        return {**super().snapshot(), "bounds": [[wave.base_lr, wave.max_lr] for wave in waves]}

    def restore(self, entry: dict[str, Any] | None) -> None:
        entry = dict(entry or {})
        waves = self._waves()
        bounds = entry.pop("bounds", None) or [wave.wave.bounds for wave in waves]
        super().restore(entry)
        for wave, (base_lr, max_lr) in zip(waves, bounds):
            wave.move(base_lr, max_lr)
        after_adjustment(self.model)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._judged_at: int | None = None
        if not self._waves():
            raise ValueError(
                "AdaptiveBounds moves the bounds of a cyclical schedule, and this learning rate "
                "has none that can be moved. Train with Cyclical, Triangular, Triangular2, "
                "ExpRange or CosineAnnealingWarmRestarts of `keras_cyclic.schedules`, or a "
                "composition of one. Received: learning_rate="
                f"{describe(real_optimizers(self.model.optimizer)[0]._learning_rate)}"
            )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        # A cycle is judged when the next one is about to begin, and not when its last step has
        # been made: if that ends the epoch, the validation is still to come.
        if self.position.has_reached(self.position.cycles.start(self.cycle + 1), batch - 1):
            self._judged_at, self._before = self.position.step(), self.snapshot()
            self._end_cycles_before(self._judged_at)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = {} if logs is None else logs
        step = self.position.step()
        if step == self._judged_at:
            # Where data does not say how long it is, Keras begins a batch after the last one.
            self.restore(self._before)
        self.log_learning_rates(logs)
        value = self.monitored(logs)
        self._end_cycles_before(step - 1)
        if value is not None and self._is_best_of_cycle(value):
            self.best_of_cycle = value
        self._end_cycles_before(step)

    def _is_best_of_cycle(self, value):
        best = self.best_of_cycle
        return best is None or math.isnan(best) or self.is_better(value, best)

    def _end_cycles_before(self, step):
        """Judges the cycle that was going on, if `step` is in a later one."""
        cycle = self.position.cycles.index(step)
        if cycle <= self.cycle:
            return
        if self.best_of_cycle is not None:
            self._judge(self.best_of_cycle)
        self.cycle = cycle
        self.best_of_cycle = None

    def _judge(self, value):
        if self.is_improvement(value, self.best):
            self.best = value
            self.wait = 0
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.wait = 0
            self._lower_bounds()

    def _lower_bounds(self):
        changes = []
        for wave in self._waves():
            base_lr, max_lr = wave.base_lr, wave.max_lr
            if self.bound != "max":
                base_lr = self._lowered(base_lr)
            if self.bound != "base":
                max_lr = max(self._lowered(max_lr), base_lr)
            for name, new in (("base_lr", base_lr), ("max_lr", max_lr)):
                old = getattr(wave, name)
                if new != old:
                    changes.append(f"{name} from {old:.6g} to {new:.6g}")
            wave.move(base_lr, max_lr)
        after_adjustment(self.model)
        if changes and self.verbose > 0:
            io_utils.print_msg(
                f"\nEpoch {self._epoch + 1}: AdaptiveBounds, after cycle {self.cycle + 1}: "
                f"{', '.join(dict.fromkeys(changes))}."
            )

    def _lowered(self, rate):
        return min(rate, max(rate * self.factor, self.min_lr))


def _waves_in(rates):
    return [wave for rate in rates for wave in with_movable_bounds(rate)[1]]
