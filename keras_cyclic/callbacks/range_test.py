"""The learning-rate range test, as a callback."""

from typing import Any, Literal

import keras
import numpy as np

from keras_cyclic import _arguments
from keras_cyclic._fit import callback_list_with
from keras_cyclic._types import Integer, Logs, Real
from keras_cyclic.callbacks._range_test_run import RangeTestRun
from keras_cyclic.callbacks._validation import ValidationLoss
from keras_cyclic.range_test_result import LEAST_POINTS, RangeTestResult


class LRRangeTest(keras.callbacks.Callback):
    """Raises the learning rate step by step, records the loss of each batch, and tidies up.

    ```
    exponential: rate_t = min_lr * (max_lr / min_lr) ** (t / (steps - 1))
    linear:      rate_t = min_lr + (max_lr - min_lr) * t / (steps - 1)
    average_t = smoothing * average_(t-1) + (1 - smoothing) * loss_t
    the test ends when average_t / (1 - smoothing ** (t + 1)) > stop_factor * its lowest value
    ```

    or when a loss is not finite. The rate is set and the loss recorded inside the compiled step:
    the loss is that of the batch alone, with the weights before its update, as `fit` reports it
    (Dropout and BatchNormalization in training mode, regularization losses and sample weights
    included). On JAX and PyTorch, the test runs step by step, whatever `steps_per_execution` is.

    The test ends `fit` when it is done. Where the data of `fit` is shorter, the test goes round
    it again after the last epoch; there, callbacks see no batches. `kc.lr_range_test` is the
    shorter way to run it.

    With `restore`, the weights, the optimizer, the metrics and the random state are put back as
    soon as the test is done, and once more at the end of `fit`; also when a step, the data or
    a callback raises, or the user interrupts them. Where something else in `fit` does (on PyTorch,
    the data too), the next `fit` puts them back before it starts, or call `restore_model()`. What
    the data itself remembers is not the model's: a generator moves on, and so does the order of a
    `tf.data` shuffle.

    A `MultiOptimizer`'s groups keep the ratios of their rates; the highest is the tested one.

    Args:
        min_lr: The learning rate of the first step. Defaults to `1e-7`.
        max_lr: The learning rate of the last step. Defaults to `10.0`.
        steps: The number of steps, at least 10. Defaults to `100`.
        spacing: `"exponential"` or `"linear"`. Defaults to `"exponential"`.
        smoothing: The weight of the past in the running average that stops the test, from 0 to
            below 1. Defaults to `0.9`.
        stop_factor: How many times its lowest value the running average may reach (above a
            lowest value that is negative: by so many times less one of its size). Defaults to
            `4.0`.
        restore: Whether to put the model back as it was. If not, it keeps what it has learnt;
            its learning rate and compiled functions are put back always. Defaults to `True`.
        validation_data: `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset` or a
            `keras.utils.PyDataset`. If given, the loss on it, with the weights before the step's
            update, is recorded in place of the batch's. Defaults to `None`.
        validation_every: Steps from one validation to the next; only these are recorded.
            Defaults to `1`.
        validation_batch_size: As in `fit`. Defaults to `None`.
        validation_steps: As in `fit`. Defaults to `None`.
        monitor: The name of the loss in what the model's `train_step` returns. Defaults to
            `"loss"`.
        verbose: Whether to show a progress bar of the test's steps, for a `fit` with `verbose=0`.
            Defaults to `0`.

    Raises:
        ValueError: If `min_lr` is not below `max_lr`, there are fewer than 10 steps,
            `stop_factor` is 1 or less, or `validation_data` is without labels; at the start of
            `fit`, if the model is not built.
        TypeError: If an argument is of the wrong type.

    Attributes:
        result: The `RangeTestResult`, once the test is over; before, `None`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_cyclic as kc
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x = np.random.normal(size=(256, 4))
    >>> test = kc.callbacks.LRRangeTest(steps=50)
    >>> history = model.fit(x, x.sum(axis=1), verbose=0, callbacks=[test])
    >>> test.result.diverged
    True
    >>> base_lr, max_lr = test.result.bounds()
    >>> model.optimizer.learning_rate = kc.schedules.Triangular(base_lr, max_lr, step_size=100)

    References:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    """

    def __init__(
        self,
        min_lr: Real = 1e-7,
        max_lr: Real = 10.0,
        steps: Integer = 100,
        spacing: Literal["exponential", "linear"] = "exponential",
        smoothing: Real = 0.9,
        stop_factor: Real = 4.0,
        restore: bool = True,
        validation_data: Any = None,
        validation_every: Integer = 1,
        validation_batch_size: int | None = None,
        validation_steps: int | None = None,
        monitor: str = "loss",
        verbose: int = 0,
    ) -> None:
        super().__init__()
        self.min_lr = _arguments.positive("min_lr", min_lr)
        self.max_lr = _arguments.positive("max_lr", max_lr)
        if self.min_lr >= self.max_lr:
            raise ValueError(
                "Argument `min_lr` must be below `max_lr`. "
                f"Received: min_lr={min_lr!r}, max_lr={max_lr!r}"
            )
        self.steps = _arguments.length("steps", steps)
        if self.steps < LEAST_POINTS:
            raise ValueError(
                f"Argument `steps` must be at least {LEAST_POINTS}. Received: steps={steps!r}"
            )
        self.spacing = _arguments.choice("spacing", spacing, ("exponential", "linear"))
        self.smoothing = _arguments.real("smoothing", smoothing)
        if not 0 <= self.smoothing < 1:
            raise ValueError(
                "Argument `smoothing` must be a weight from 0 to below 1. "
                f"Received: smoothing={smoothing!r}"
            )
        self.stop_factor = _arguments.real("stop_factor", stop_factor)
        if self.stop_factor <= 1:
            raise ValueError(
                "Argument `stop_factor` must be above 1: the test ends when the running average "
                "of the losses passes so many times its lowest value. "
                f"Received: stop_factor={stop_factor!r}"
            )
        self.restore = _arguments.boolean("restore", restore)
        self.validation = None
        if validation_data is not None:
            self.validation = ValidationLoss(
                validation_data, validation_every, validation_batch_size, validation_steps, monitor
            )
        self.monitor = monitor
        self.verbose = verbose
        # Any stands for None, which it is only before the end of a test.
        self.result: RangeTestResult | Any = None
        self._run: RangeTestRun | None = None

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        callbacks = callback_list_with(self)
        if callbacks is None:
            return
        order = callbacks.callbacks
        place = order.index(self)
        if not all(isinstance(callback, LRRangeTest) for callback in order[place:]):
            # The others must find the model as it is, and not the rates that are tested.
            order.append(order.pop(place))
            # `CallbackList` is going over this list now, and will leave out what has moved up.
            order[place].set_params(params)

    def on_train_begin(self, logs: Logs = None) -> None:
        self.restore_model()
        self.result = None
        check_model(self.model)
        if self.validation is not None:
            self.validation.check(self.model)
        if self.params.get("steps") == 0:
            raise ValueError("The data for the range test is empty.")
        self._run = RangeTestRun(self.model, self, self._learning_rates())

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._run is not None and epoch == self.params["epochs"] - 1:
            self._run.go_round(self.params["epochs"])

    def on_train_end(self, logs: Logs = None) -> None:
        self.restore_model()

    def restore_model(self) -> None:
        """Puts the model back as it was, after a `fit` that was interrupted during the test."""
        if self._run is not None:
            self._run.end()
            self._run = None

    def _learning_rates(self):
        space = np.geomspace if self.spacing == "exponential" else np.linspace
        rates = space(self.min_lr, self.max_lr, self.steps).astype(keras.config.floatx())
        if not np.all(np.diff(rates) > 0):
            raise ValueError(
                f"Arguments `min_lr` and `max_lr` leave no room for {self.steps} different rates "
                f"in {keras.config.floatx()}. Received: min_lr={self.min_lr}, "
                f"max_lr={self.max_lr}, steps={self.steps}"
            )
        return rates


def check_model(model):
    """Raises if the model is not ready for a range test."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "The range test needs a compiled `keras.Model`. "
            f"Received: model={model!r} of type {type(model).__name__}"
        )
    if not model.compiled or model.optimizer is None:
        raise ValueError(
            "The range test needs a compiled model. Call `model.compile(optimizer, loss)` first."
        )
    if not model.built:
        raise ValueError(
            "The range test needs a model with weights, to put them back. Call "
            "`model.build(input_shape)`, or the model on a batch, first."
        )
