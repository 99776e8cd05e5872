"""The learning rate and the scheduled hyperparameters in the logs."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_cyclic import _arguments
from keras_cyclic._config import Configurable
from keras_cyclic._fit import callback_list_that_called, callback_list_with
from keras_cyclic._types import Logs
from keras_cyclic.callbacks._rates_by_step import RatesByStep, current_values


@keras.saving.register_keras_serializable(package="keras_cyclic")
class LearningRateMonitor(Configurable, keras.callbacks.Callback):
    """Puts the learning rate and the scheduled hyperparameters into `logs`.

    From there they come into `History`, the progress bar, `CSVLogger`, `TensorBoard` and whatever
    else reads `logs`, wherever it stands in the list of callbacks: this callback moves to the
    front of it.

    The names are those of Keras's own callbacks: `learning_rate`, and for the groups of a
    `MultiOptimizer` `learning_rate_<name of the group's optimizer>`. A hyperparameter that
    `HyperparameterSchedule` or `CyclicalMomentum` drives has its own name, `momentum` or
    `beta_1`, with the same ending for a group. Where groups share a name, the last of them has
    it, which is the one that Keras logs; the others are `learning_rate_<name>_group_<number>`,
    counted from 0.

    At the end of an epoch, the values are those that the optimizer has by then, which are those
    of its next step: what `optimizer.learning_rate` says and Keras's callbacks log.

    With `per_step` there are also the values of each step,

    ```
    value_t = schedule(t)
    ```

    with `t` as a schedule counts it: from 0, by the optimizer, so that
    `gradient_accumulation_steps` does not matter and a step that a `LossScaleOptimizer` skips
    does not count. They are computed from the schedules, many steps at once. A rate that is a
    plain number is read once an execution: it has held for all steps of it. These values are

    - in `history`, all of them;
    - in the `logs` of each batch, hence in the progress bar: those of the last step that was
      taken, once in `steps_per_execution` steps;
    - in TensorBoard under `batch_learning_rate` and the like. With `update_freq="epoch"`, which
      writes no batches otherwise, all of them, at the number of steps that the optimizer has
      taken, `t + 1`. With another `update_freq`, `keras.callbacks.TensorBoard` writes them itself
      from the `logs`, when and as it writes `batch_loss`.

    The rates that `LRRangeTest` tries are not seen here, but in its `result`.

    Works on all backends. On JAX, `per_step` brings the variables up to date once an execution.

    Args:
        per_step: Whether to give the values of each step too, and not only those at the end of
            each epoch. Keras then waits for each execution to end, as with any callback that looks
            at batches. Defaults to `False`.

    Raises:
        TypeError: If `per_step` is not a boolean.
        ValueError: At the start of `fit`, if the model has no optimizer.

    Attributes:
        history: With `per_step`, the values of the steps of the last `fit` so far: a dict of NumPy
            arrays, `"step"` and one for each name. Otherwise empty.

    Example:

    >>> import keras, numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> rate = kc.schedules.Triangular(base_lr=0.01, max_lr=0.05, step_size=4)
    >>> model.compile(keras.optimizers.SGD(rate), "mse")
    >>> monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    >>> x, y = np.ones((6, 4)), np.ones((6, 1))
    >>> history = model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[monitor])
    >>> [round(value, 3) for value in history.history["learning_rate"]]
    [0.04, 0.03]
    >>> [round(float(value), 3) for value in monitor.history["learning_rate"]]
    [0.01, 0.02, 0.03, 0.04, 0.05, 0.04]
    """

    def __init__(self, per_step: bool = False) -> None:
        super().__init__()
        self.per_step = _arguments.boolean("per_step", per_step)
        # Keras runs ahead of batch callbacks if they all allow it.
        self.async_safe = not self.per_step
        self._record: Any = None
        self._write_steps: dict[Any, Any] = {}

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """The values of each step of the last `fit`, a dict of NumPy arrays."""
        return {} if self._record is None else self._record.all()

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        callbacks = callback_list_with(self)
        if callbacks is not None:
            # `CallbackList` is going over this list now. The callbacks that it has been to move up
            # by one place, so that it neither leaves out one nor comes to one again.
            callbacks.callbacks.remove(self)
            callbacks.callbacks.insert(0, self)
            # Keras asks only callbacks in a list whether it may run ahead of them.
            callbacks._async_train = callbacks._async_train and not self.per_step

    def on_train_begin(self, logs: Logs = None) -> None:
        if getattr(self.model, "optimizer", None) is None:
            raise ValueError(
                "LearningRateMonitor needs a model with an optimizer. Call "
                "`model.compile(optimizer, loss)` first."
            )
        self._record = RatesByStep(self.model) if self.per_step else None
        self._write_steps = {}

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self.per_step:
            self._record.begin_epoch((self.params or {}).get("steps"))

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.per_step:
            values = self._record.record()
            if logs is not None:
                logs.update(values)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs.update(current_values(self.model))
        if self.per_step:
            values = self._record.end_epoch()
            for callback in _tensorboards() if values else ():
                if callback not in self._write_steps:
                    self._write_steps[callback] = _writer(callback, list(values)[1:])
                self._write_steps[callback](values)

    def on_train_end(self, logs: Logs = None) -> None:
        self._write_steps = {}


def _tensorboards():
    """The `TensorBoard` callbacks of this `fit` that write no batches by themselves."""
    callbacks, _ = callback_list_that_called()
    return [
        callback
        for callback in (callbacks.callbacks if callbacks is not None else ())
        if isinstance(callback, keras.callbacks.TensorBoard) and callback.update_freq == "epoch"
    ]


def _writer(tensorboard, names):
    """A function that writes many steps' values to a TensorBoard callback's file."""
    import tensorflow as tf

    # Compiled, since one by one the values would take longer to write than many a step.
    @tf.function(autograph=False)
    def write(steps, values):
        def write_one(i):
            # A tag begins with the name scope that it is written in, here that of the loop.
            with tf.name_scope(""):
                for j, name in enumerate(names):
                    tensorboard.summary.scalar(f"batch_{name}", values[i, j], step=steps[i])
            return [i + 1]

        tf.while_loop(lambda i: i < tf.size(steps), write_one, [0], parallel_iterations=1)

    def write_steps(values):
        table = np.stack([values[name] for name in names], axis=1).astype("float32")
        with tensorboard._train_writer.as_default():
            write(tf.constant(values["step"] + 1, tf.int64), tf.constant(table))

    return write_steps
