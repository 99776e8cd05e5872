"""Falls in steps: at a fixed distance, or at milestones."""

import keras
import numpy as np

from keras_cyclic import _arguments
from keras_cyclic._types import Integer, Integers, Real, Tensor
from keras_cyclic.schedules.clock import Cycles, at, float_dtype, passed
from keras_cyclic.schedules.envelope import geometric
from keras_cyclic.schedules.schedule import Schedule


@keras.saving.register_keras_serializable(package="keras_cyclic")
class StepDecay(Schedule):
    """A learning rate multiplied by a factor every so many steps.

    ```
    rate = initial_lr * gamma ** floor(t / step_size)
    ```

    Args:
        initial_lr: The learning rate at step 0.
        step_size: Steps between two changes.
        gamma: The factor, above 0 and at most 1. Defaults to `0.1`.

    Raises:
        ValueError: If `initial_lr` is negative or not finite, `step_size` is not a positive
            whole number, or `gamma` is not above 0 and at most 1.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.StepDecay(0.1, step_size=30)
    >>> [round(float(schedule(step)), 6) for step in (0, 29, 30, 60)]
    [0.1, 0.1, 0.01, 0.001]
    """

    def __init__(self, initial_lr: Real, step_size: Integer, gamma: Real = 0.1) -> None:
        self.initial_lr = _arguments.rate("initial_lr", initial_lr)
        self.step_size = _arguments.length("step_size", step_size)
        self.gamma = _arguments.decay_factor("gamma", gamma)
        self._clock = Cycles(self.step_size)

    def learning_rate(self, step: Tensor) -> Tensor:
        return self.initial_lr * geometric(self.gamma, self._clock.index(step))


@keras.saving.register_keras_serializable(package="keras_cyclic")
class MultiStepDecay(Schedule):
    """A learning rate multiplied by a factor at each milestone.

    ```
    rate = initial_lr * gamma ** (number of milestones at or before t)
    ```

    Args:
        initial_lr: The learning rate at step 0.
        milestones: A list of steps, strictly increasing.
        gamma: The factor, above 0 and at most 1. Defaults to `0.1`.

    Raises:
        ValueError: If `initial_lr` is negative or not finite, `milestones` are not positive
            whole numbers that increase, or `gamma` is not above 0 and at most 1.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.MultiStepDecay(0.1, milestones=[30, 80])
    >>> [round(float(schedule(step)), 6) for step in (29, 30, 79, 80)]
    [0.1, 0.01, 0.01, 0.001]
    """

    def __init__(self, initial_lr: Real, milestones: Integers, gamma: Real = 0.1) -> None:
        self.initial_lr = _arguments.rate("initial_lr", initial_lr)
        self.milestones = _arguments.increasing_lengths("milestones", milestones)
        self.gamma = _arguments.decay_factor("gamma", gamma)

    def learning_rate(self, step: Tensor) -> Tensor:
        rates = self.initial_lr * self.gamma ** np.arange(len(self.milestones) + 1.0)
        return at(rates.astype(float_dtype()), passed(self.milestones, step))
