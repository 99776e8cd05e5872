"""Early stopping that judges at the ends of cycles."""

from typing import Any, Literal

import keras
from keras.src.utils import io_utils

from keras_cyclic import _arguments
from keras_cyclic._types import Integer, Logs, Real
from keras_cyclic.callbacks._cycle_end import CycleEndCallback


@keras.saving.register_keras_serializable(package="keras_cyclic")
class CycleEarlyStopping(CycleEndCallback):
    """Stops training when a metric has not improved from one cycle's end to the next.

    Keras's `EarlyStopping`, counted in cycles: in the middle of a cycle the loss is meant to be
    worse. A cycle is judged by the first value logged at its end or after it: where cycles end
    in the middle of an epoch, by the validation at the end of that epoch.

    The counters, and with `restore_best_weights` the best weights, are saved with the model and
    its weights, as those of `ReduceLROnPlateau` are.

    Args:
        monitor: The name of the logged value to watch. Defaults to `"val_loss"`.
        min_delta: How much better a value must be to count as an improvement. Defaults to `0`.
        patience: How many cycles without improvement to wait for. Defaults to `0`.
        verbose: 1 to print a line when training stops. Defaults to `0`.
        mode: `"min"` if lower values are better, `"max"` if higher ones are, `"auto"` to tell
            from the metric. Defaults to `"auto"`.
        baseline: A value that must be reached within `patience` cycles, or None.
        restore_best_weights: Whether the model ends with the weights of the best cycle: those that
            the value was logged for. Defaults to `False`.
        start_from_epoch: The first epoch, counted from 0, whose end is judged. Defaults to `0`.

    Raises:
        ValueError: If a number is out of range or `mode` unknown; at the start of `fit`, if the
            learning rate has no cycles that can be known.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras, numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> rate = kc.schedules.CosineAnnealingWarmRestarts(0.01, first_decay_steps=8)
    >>> model.compile(keras.optimizers.SGD(rate), "mse")
    >>> stop = kc.callbacks.CycleEarlyStopping("loss", patience=2, min_delta=1e3)
    >>> x, y = np.ones((8, 4)), np.ones((8, 1))
    >>> history = model.fit(x, y, batch_size=2, epochs=20, verbose=0, callbacks=[stop])
    >>> len(history.epoch)
    6
    """

    remembers = (*CycleEndCallback.remembers, "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: Real = 0,
        patience: Integer = 0,
        verbose: int = 0,
        mode: Literal["auto", "min", "max"] = "auto",
        baseline: Real | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: Integer = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        self.patience = _arguments.count("patience", patience)
        self.baseline = None if baseline is None else _arguments.real("baseline", baseline)
        self.restore_best_weights = _arguments.boolean("restore_best_weights", restore_best_weights)
        self.start_from_epoch = _arguments.count("start_from_epoch", start_from_epoch)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.stopped_epoch = 0
        self._has_stopped = False
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None

    def restore(self, entry: dict[str, Any] | None) -> None:
        super().restore(entry)
        if self.best_weights is not None and self.model.built:
            saved = [weight.shape for weight in self.best_weights]
            if saved != [tuple(weight.shape) for weight in self.model.weights]:
                raise ValueError(f"the shapes of the best weights are {saved}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = {} if logs is None else logs
        self.log_learning_rates(logs)
        value = self.monitored(logs)
        cycle = self.position.cycle()
        if value is None or cycle <= self.cycle:
            return
        self.cycle = cycle
        if epoch >= self.start_from_epoch:
            self._judge(value, epoch)

    def _judge(self, value, epoch):
        self.wait += 1
        is_best = self.is_improvement(value, self.best)
        if self.restore_best_weights and (is_best or self.best_weights is None):
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        if is_best:
            self.best = value
            self.best_epoch = epoch
            if self.baseline is None or self.is_improvement(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience:
            self.stopped_epoch = epoch
            self._has_stopped = True
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        if self._has_stopped and self.verbose > 0:
            io_utils.print_msg(
                f"Epoch {self.stopped_epoch + 1}: CycleEarlyStopping, after cycle {self.cycle}."
            )
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                io_utils.print_msg(
                    f"Restoring the weights of the best cycle's end, epoch {self.best_epoch + 1}."
                )
            self.model.set_weights(self.best_weights)
