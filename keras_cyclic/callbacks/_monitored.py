"""Callbacks that judge a monitored value, and remember their judgement with the model."""

import math
import warnings
from typing import Any, Literal

import keras
from keras import ops
from keras.src.callbacks.monitor_callback import MonitorCallback

from keras_cyclic import _arguments
from keras_cyclic._callback_state import place_in_list, state_of
from keras_cyclic._config import Configurable
from keras_cyclic._readings import bring_up_to_date, learning_rate_now, steps_made
from keras_cyclic._types import Logs, Real
from keras_cyclic._wrapped_optimizers import all_suffixed_optimizers, real_optimizers
from keras_cyclic.hyperparameters import build_if_possible


class MonitoredCallback(Configurable, MonitorCallback):
    """Base class of the callbacks that react to a monitored value.

    A subclass names in `remembers` the attributes that must survive saving and loading, and sets
    them in `reset`.

    Args:
        monitor: The name of a logged value.
        mode: `"min"`, `"max"` or `"auto"`.
        min_delta: What counts as an improvement.
        verbose: 0 or 1.
    """

    min_delta: float
    remembers: tuple[str, ...] = ("best", "wait", "direction")

    def __init__(
        self, monitor: str, mode: Literal["auto", "min", "max"], min_delta: Real, verbose: int
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(
                "Argument `monitor` must be the name of a logged value, as 'val_loss'. "
                f"Received: monitor={_arguments.shown(monitor)} of type {type(monitor).__name__}"
            )
        super().__init__(
            monitor,
            _arguments.choice("mode", mode, ("auto", "min", "max")),
            min_delta=_arguments.not_negative("min_delta", min_delta),
        )
        self.verbose = verbose
        # "min" or "max". With mode "auto" the metrics tell, which are not all there before the
        # first step.
        self.direction = None if mode == "auto" else mode
        self._has_warned = False
        self._state: Any = None

    def reset(self) -> None:
        """Forgets what was judged; at the start of a `fit` that does not go on from a file."""
        self.best: float | None = None
        self.wait = 0

    def snapshot(self) -> dict[str, Any]:
        """What is saved with the model."""
        return {name: getattr(self, name) for name in self.remembers}

    def restore(self, entry: dict[str, Any] | None) -> None:
        """Takes back what `snapshot` gave, or starts anew if it is None."""
        self.reset()
        for name in self.remembers:
            if entry and name in entry:
                setattr(self, name, self._readable(name, entry[name]))
        if self.mode != "auto":
            self.direction = self.mode

    def _readable(self, name, value):
        """`value`, from a file, which must be like what is remembered by this name."""
        if name == "direction":
            good = value in (None, "min", "max")
        elif isinstance(getattr(self, name), int):
            good = isinstance(value, int)
        else:
            good = value is None or isinstance(value, (int, float, list))
        if not good:
            raise ValueError(f"{name} is {_arguments.shown(value)}")
        return value

    def set_model(self, model: keras.Model) -> None:
        """Attaches the callback to a compiled model; `fit` does it.

        Keras loads a weights file into what is there. For a new model to take the state of this
        callback from a weights file, call `set_model` before `load_weights`.
        """
        if self._state is not None and model is not self.model:
            self._state.detach(self)
            self._state = None
        super().set_model(model)
        if getattr(model, "optimizer", None) is None:
            return
        # Keras loads the weights of an optimizer only into one that is built.
        build_if_possible(model)
        kind = self._kind()
        number = place_in_list(
            self, lambda other: isinstance(other, MonitoredCallback) and other._kind() == kind
        )
        self._key = f"{kind}:{number}"
        self.attach()
        self._state = state_of(model)
        self._state.attach(self._key, self)

    def attach(self) -> None:
        """Makes the model's learning rate adjustable, where that is what the callback does."""

    def _kind(self):
        return f"{type(self).__name__}:{self.monitor}"

    def on_train_begin(self, logs: Logs = None) -> None:
        if self._state is None:
            raise ValueError(
                "The model must be compiled: call `model.compile(optimizer, loss)` first."
            )
        if not self._state.begin_fit(self._key):
            self.reset()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        # Not earlier: BackupAndRestore loads when this callback has begun.
        self._state.begin_epoch()

    def monitored(self, logs: dict[str, Any]) -> float | None:
        """The monitored value, or None; warns once if it is not logged."""
        if self.direction is None:
            self._set_monitor_op()
            self.direction = "min" if self.monitor_op is ops.less else "max"
            # Keras has given it a sign.
            self.min_delta = abs(self.min_delta)
        value = logs.get(self.monitor)
        if value is None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{type(self).__name__} monitors `{self.monitor}`, which is not logged at the end "
                "of this epoch, and so does nothing. Give `fit` validation data, or `monitor` what "
                f"is logged. Logged are: {', '.join(logs)}.",
                stacklevel=3,
            )
        return value

    def is_improvement(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best by more than `min_delta`; NaN never is."""
        return not math.isnan(value) and (
            best is None or self.is_better(value, best, self.min_delta)
        )

    def is_better(self, value: float, other: float, by: float = 0.0) -> bool:
        """Whether a value is better than another one by more than `by`."""
        # Keras's ops compare in single precision, and so does its callback.
        if self.direction == "min":
            return bool(ops.less(value + by, other))
        return bool(ops.greater(value - by, other))

    def log_learning_rates(self, logs: dict[str, Any]) -> None:
        """Puts the present rates into the logs, under the names that Keras gives them.

        A rate that is there already was logged before another callback changed it.
        """
        bring_up_to_date(self.model)
        for suffix, optimizer in all_suffixed_optimizers(self.model.optimizer):
            logs.setdefault(f"learning_rate{suffix}", learning_rate_now(optimizer))


def step_of(model):
    """The steps that the optimizers of a model have made, a Python int."""
    bring_up_to_date(model)
    # A group of a MultiOptimizer without weights makes none.
    return max(map(steps_made, real_optimizers(model.optimizer)), default=0)
