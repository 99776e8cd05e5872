"""Reducing the learning rate when a metric has stopped improving."""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from keras.src.utils import io_utils

from keras_cyclic import _arguments
from keras_cyclic._borrowed_learning_rates import own_learning_rate
from keras_cyclic._readings import learning_rate_now
from keras_cyclic._types import Integer, Logs, Real
from keras_cyclic._wrapped_optimizers import all_suffixed_optimizers
from keras_cyclic.callbacks._adjusted_rates import after_adjustment, replace_rates
from keras_cyclic.callbacks._cycle_end import CycleEndCallback
from keras_cyclic.callbacks._monitored import step_of
from keras_cyclic.schedules.adjustable import Scaled


@keras.saving.register_keras_serializable(package="keras_cyclic")
class ReduceLROnPlateau(CycleEndCallback):
    """Reduces the learning rate when a metric has stopped improving, also that of a schedule.

    Keras's callback of that name, for every learning rate that an optimizer takes. A plain rate is
    reduced exactly as Keras reduces it:

    ```
    rate = max(rate * factor, min_lr)
    ```

    A schedule, of `keras_cyclic` or of Keras, or a function keeps its shape and is scaled, from
    the next step on and without the step being compiled again:

    ```
    rate(t) = max(schedule(t) * factor ** n, min(schedule(t), min_lr))      after n reductions
    ```

    In a `MultiOptimizer` all groups are reduced, in a `LossScaleOptimizer` the optimizer inside.
    The rate of each epoch's end is logged as `learning_rate` (`learning_rate_<name>` for each
    group), so that `History` has it.

    The reduced rate and the counters are saved with the model and its weights, and training goes
    on from them: after `keras.models.load_model`, after `keras.callbacks.BackupAndRestore` has
    restored a run that was killed, and after `load_weights`, if the new model is known to the
    callback by then (`callback.set_model(model)`). Any other `fit` begins with new counters, as
    with Keras.

    Args:
        monitor: The name of the logged value to watch. Defaults to `"val_loss"`.
        factor: What the learning rate is multiplied by, above 0 and below 1. Defaults to `0.1`.
        patience: How many epochs without improvement it takes. Defaults to `10`.
        verbose: 1 to print a line for each reduction. Defaults to `0`.
        mode: `"min"` if lower values are better, `"max"` if higher ones are, `"auto"` to tell
            from the metric. Defaults to `"auto"`.
        min_delta: How much better a value must be to count as an improvement. Defaults to `1e-4`.
        cooldown: How many epochs after a reduction are not judged. Defaults to `0`.
        min_lr: The learning rate not to go below. Defaults to `0.0`.
        at_cycle_ends: Whether to judge at the ends of the schedule's cycles only, by the first
            value logged at or after each; `patience` and `cooldown` then count cycles. In the
            middle of a cycle the loss is meant to be worse. Defaults to `False`.

    Raises:
        ValueError: If a number is out of range or `mode` unknown; at the start of `fit`, if the
            cycles are to be waited for and cannot be known.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras, numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> rate = kc.schedules.CosineAnnealing(0.1, decay_steps=8)
    >>> model.compile(keras.optimizers.SGD(rate), "mse")
    >>> reduce_lr = kc.callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.5, min_delta=1e3)
    >>> x, y = np.ones((8, 4)), np.ones((8, 1))
    >>> history = model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[reduce_lr])
    >>> [round(rate, 4) for rate in history.history["learning_rate"]]
    [0.0854, 0.05, 0.0073]
    """

    remembers = (*CycleEndCallback.remembers, "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: Real = 0.1,
        patience: Integer = 10,
        verbose: int = 0,
        mode: Literal["auto", "min", "max"] = "auto",
        min_delta: Real = 1e-4,
        cooldown: Integer = 0,
        min_lr: Real = 0.0,
        at_cycle_ends: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        self.factor = _arguments.fraction("factor", factor)
        self.patience = _arguments.count("patience", patience)
        self.cooldown = _arguments.count("cooldown", cooldown)
        self.min_lr = _arguments.rate("min_lr", min_lr)
        self.at_cycle_ends = _arguments.boolean("at_cycle_ends", at_cycle_ends)
        self.waits_for_cycles = self.at_cycle_ends
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.cooldown_counter = 0

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if getattr(model, "optimizer", None) is None:
            return
        for optimizer in self._optimizers():
            rate = optimizer._learning_rate
            if rate is not own_learning_rate(optimizer):
                # What was loaded before this `fit_one_cycle` is from another cycle.
                rate.scale = 1.0

    def attach(self) -> None:
        replace_rates(self.model, self._scaled_with_min_lr)

    def _scaled_with_min_lr(self, rate):
        if isinstance(rate, Scaled) and rate.min_lr != self.min_lr:
            return Scaled(rate.schedule, rate.scale, self.min_lr)
        return self._scaled(rate)

    def _scaled(self, rate):
        return rate if isinstance(rate, Scaled) else Scaled(rate, min_lr=self.min_lr)

    def _optimizers(self):
        # Also groups without weights, as Keras does.
        return [optimizer for _, optimizer in all_suffixed_optimizers(self.model.optimizer)]

    def snapshot(self) -> dict[str, Any]:
        present = [optimizer._learning_rate for optimizer in self._optimizers()]
        own = [own_learning_rate(optimizer) for optimizer in self._optimizers()]
        # The cycle of a `fit_one_cycle` is no part of the model, but a backup goes on in it.
        borrowed = [None if a is b else a for a, b in zip(present, own)]
        return {
            **super().snapshot(),
            "scales": [_scale(rate) for rate in own],
            "borrowed_scales": [_scale(rate) for rate in borrowed],
        }

    def restore(self, entry: dict[str, Any] | None) -> None:
        entry = dict(entry or {})
        optimizers = self._optimizers()
        none = [None] * len(optimizers)
        own = entry.pop("scales", None) or none
        borrowed = entry.pop("borrowed_scales", None) or none
        super().restore(entry)
        for optimizer, own_scale, borrowed_scale in zip(optimizers, own, borrowed):
            rate = optimizer._learning_rate
            scale = own_scale if rate is own_learning_rate(optimizer) else borrowed_scale
            if isinstance(rate, Scaled):
                rate.scale = 1.0 if scale is None else scale
        after_adjustment(self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._first_step = step_of(self.model)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = {} if logs is None else logs
        # The groups of some MultiOptimizers are known only when the first step has been made. A
        # `min_lr` stays as it is: another callback in the list may have another one.
        replace_rates(self.model, self._scaled)
        self.log_learning_rates(logs)
        value = self.monitored(logs)
        if value is None:
            return
        if self.position is not None:
            cycle = self.position.cycle()
            if cycle <= self.cycle:
                return
            self._first_step = min(self._first_step, self.position.cycles.start(self.cycle))
            self.cycle = cycle
        self._judge(value, epoch)

    def in_cooldown(self) -> bool:
        """Whether a reduction is so recent that nothing is judged."""
        return self.cooldown_counter > 0

    def _judge(self, value, epoch):
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.is_improvement(value, self.best):
            self.best = value
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self._reduce(epoch):
                self.cooldown_counter = self.cooldown
                self.wait = 0

    def _reduce(self, epoch):
        groups = all_suffixed_optimizers(self.model.optimizer)
        reduced = [self._reduce_rate(optimizer) for _, optimizer in groups]
        after_adjustment(self.model)
        if self.verbose > 0:
            for (suffix, optimizer), new_rate in zip(groups, reduced):
                name = f" {optimizer.name}" if suffix else ""
                if new_rate is not None:
                    io_utils.print_msg(
                        f"\nEpoch {epoch + 1}: {type(self).__name__} reducing{name} learning rate "
                        f"to {new_rate}."
                    )
        return any(new_rate is not None for new_rate in reduced)

    def _reduce_rate(self, optimizer):
        """The new rate, in words, or None if it is as low as it may be."""
        rate = optimizer._learning_rate
        if isinstance(rate, Scaled):
            if not self._highest_rate(rate) > np.float32(self.min_lr):
                return None
            rate.scale = rate.scale * self.factor
            return f"{rate.scale:.6g} times its schedule, now {learning_rate_now(optimizer):.6g}"
        old_rate = learning_rate_now(optimizer)
        if not old_rate > np.float32(self.min_lr):
            return None
        new_rate = max(old_rate * self.factor, self.min_lr)
        optimizer.learning_rate = new_rate
        return new_rate

    def _highest_rate(self, schedule):
        """The highest rate of what is judged: its last one may be the lowest point of a cycle."""
        if not self.min_lr:
            return np.inf
        steps = np.linspace(self._first_step, step_of(self.model), _LOOKED_AT).astype("int64")
        return max(float(ops.convert_to_numpy(schedule(int(step)))) for step in np.unique(steps))


def _scale(rate):
    return rate.scale if isinstance(rate, Scaled) else None


_LOOKED_AT = 65
