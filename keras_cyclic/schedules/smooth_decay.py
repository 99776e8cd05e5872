"""Falls that never end: exponential and inverse square root."""

import keras
from keras import ops

from keras_cyclic import _arguments
from keras_cyclic._types import Integer, Real, Tensor
from keras_cyclic.schedules.clock import to_float
from keras_cyclic.schedules.envelope import geometric
from keras_cyclic.schedules.schedule import Schedule


@keras.saving.register_keras_serializable(package="keras_cyclic")
class ExponentialDecay(Schedule):
    """A learning rate that shrinks by the same factor in every so many steps.

    ```
    rate = initial_lr * decay_rate ** (t / decay_steps)
    ```

    Args:
        initial_lr: The learning rate at step 0.
        decay_steps: The number of steps in which the rate shrinks by `decay_rate`.
        decay_rate: The factor, above 0 and at most 1.

    Raises:
        ValueError: If `initial_lr` is negative or not finite, `decay_steps` is not a positive
            whole number, or `decay_rate` is not above 0 and at most 1.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.ExponentialDecay(0.1, decay_steps=1000, decay_rate=0.5)
    >>> [round(float(schedule(step)), 6) for step in (0, 500, 1000)]
    [0.1, 0.070711, 0.05]
    """

    def __init__(self, initial_lr: Real, decay_steps: Integer, decay_rate: Real) -> None:
        self.initial_lr = _arguments.rate("initial_lr", initial_lr)
        self.decay_steps = _arguments.length("decay_steps", decay_steps)
        self.decay_rate = _arguments.decay_factor("decay_rate", decay_rate)

    def learning_rate(self, step: Tensor) -> Tensor:
        return self.initial_lr * geometric(self.decay_rate, step, every=self.decay_steps)


@keras.saving.register_keras_serializable(package="keras_cyclic")
class InverseSquareRootDecay(Schedule):
    """A learning rate that falls with the square root of the steps.

    ```
    rate = initial_lr / sqrt(1 + t / decay_steps)
    ```

    Args:
        initial_lr: The learning rate at step 0.
        decay_steps: The number of steps after which it has fallen by the square root of two.

    Raises:
        ValueError: If `initial_lr` is negative or not finite, or `decay_steps` is not a positive
            whole number.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.InverseSquareRootDecay(0.1, decay_steps=100)
    >>> round(float(schedule(300)), 6)
    0.05

    Reference:

    - [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)
    """

    def __init__(self, initial_lr: Real, decay_steps: Integer) -> None:
        self.initial_lr = _arguments.rate("initial_lr", initial_lr)
        self.decay_steps = _arguments.length("decay_steps", decay_steps)

    def learning_rate(self, step: Tensor) -> Tensor:
        return self.initial_lr / ops.sqrt(1.0 + to_float(step) / float(self.decay_steps))
