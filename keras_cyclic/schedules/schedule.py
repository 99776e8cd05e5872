"""The base of all schedules, and the product that its `*` makes."""

import numbers
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule as KerasSchedule

from keras_cyclic import _arguments
from keras_cyclic._config import Configurable
from keras_cyclic._training_ahead import look_ahead
from keras_cyclic._types import Real, Tensor
from keras_cyclic.schedules.clock import integer_step, to_float
from keras_cyclic.schedules.cycle_starts import CycleStarts


class Schedule(Configurable, KerasSchedule):
    """Base class of the schedules in `keras_cyclic`.

    A subclass keeps each constructor argument as an attribute of the same name, from which
    `get_config`, `from_config` and `repr` follow, and implements `learning_rate(step)`.

    A schedule can be multiplied by a number or by another schedule:

    >>> import keras_cyclic as kc
    >>> halved = 0.5 * kc.schedules.Constant(0.1)
    >>> round(float(halved(0)), 6)
    0.05
    """

    # NumPy's numbers would otherwise try to multiply a schedule as an array.
    __array_ufunc__ = None
    # On JAX, Keras would otherwise look for `on_batch_end` before it calls `set_model`.
    async_safe = True

    def __call__(self, step: int | Tensor) -> Tensor:
        """The learning rate at `step`.

        Args:
            step: The optimizer's step, from 0: a Python int, a NumPy integer array or an
                integer tensor, of any shape.

        Returns:
            The learning rate, a tensor of `keras.config.floatx()` in the shape of `step`.

        Raises:
            TypeError: If `step` is not an integer.
            ValueError: If `step` is a negative Python int or holds one.
        """
        look_ahead(self, step)
        return ops.cast(self.learning_rate(integer_step(step)), keras.config.floatx())

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) and name in self._arguments():
            raise AttributeError(
                f"`{name}` of a schedule cannot be changed: a compiled training step would keep "
                f"the old rates. Make a new {type(self).__name__} with {name}={value!r}."
            )
        super().__setattr__(name, value)

    def set_model(self, model: keras.Model) -> None:
        """Refuses the place among `callbacks`, where Keras calls this.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"{type(self).__name__} is a schedule and no callback: pass it to the optimizer, as in "
            "`keras.optimizers.SGD(learning_rate=schedule)`, and not in `callbacks`. "
            f"Received: {self!r}"
        )

    def learning_rate(self, step: Tensor) -> Tensor:
        """The formula of the schedule.

        Args:
            step: An integer tensor of any shape.

        Returns:
            A float tensor in the shape of `step`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `learning_rate(self, step)`."
        )

    def cycles(self) -> CycleStarts | None:
        """When the cycles of the schedule begin, for callbacks that wait for the end of one.

        Returns:
            An object with two methods, for Python ints: `index(step)`, the cycle that a step is
            in, counted from 0, and `start(index)`, the first step of a cycle, or None if there
            is no such cycle. None if the schedule has no cycles.
        """

    def one_cycle(self) -> tuple[Any, int] | None:
        """The part of the schedule that must end with the training, if there is one.

        Returns:
            A pair: a `OneCycle`, and the step at which it begins. None if a training may be of
            any length.
        """

    def __mul__(self, factor: Real | KerasSchedule) -> "Product":
        if isinstance(factor, (numbers.Real, KerasSchedule)):
            return Product(self, factor)
        return NotImplemented

    __rmul__ = __mul__


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Product(Schedule):
    """A schedule times a number or times another schedule; what `*` makes.

    ```
    schedule(t) * factor        factor a number
    schedule(t) * factor(t)     factor a schedule
    ```

    Args:
        schedule: A `LearningRateSchedule`, of `keras_cyclic` or of Keras.
        factor: A finite number of 0 or more, or a `LearningRateSchedule`.

    Raises:
        ValueError: If `factor` is negative or not finite, or the product too large for float32.
        TypeError: If `schedule` is not a schedule, or `factor` neither a schedule nor a number.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.LinearDecay(0.1, 100) * kc.schedules.StepDecay(1.0, 50)
    >>> round(float(schedule(50)), 6)
    0.005
    """

    def __init__(self, schedule: KerasSchedule, factor: Real | KerasSchedule) -> None:
        self.schedule = check_schedule("schedule", schedule)
        if isinstance(factor, KerasSchedule):
            self.factor = factor
        else:
            self.factor = _arguments.rate("factor", factor)
        if _highest(self) > _arguments.LARGEST:
            raise ValueError(
                "Argument `factor` must not take the rate beyond what float32 holds. "
                f"Received: factor={_arguments.shown(factor)}, "
                f"schedule={_arguments.shown(schedule)}"
            )

    def learning_rate(self, step: Tensor) -> Tensor:
        factor = self.factor if isinstance(self.factor, float) else evaluate(self.factor, step)
        return evaluate(self.schedule, step) * factor

    def cycles(self) -> CycleStarts | None:
        found = [cycles_of(part) for part in (self.schedule, self.factor)]
        found = [cycles for cycles in found if cycles is not None]
        return found[0] if found and all(cycles == found[0] for cycles in found) else None

    def one_cycle(self) -> tuple[Any, int] | None:
        return one_cycle_of(self.schedule) if isinstance(self.factor, float) else None


def _highest(part):
    """A rate that a schedule never goes beyond, as far as its arguments tell; or a number."""
    if isinstance(part, Product):
        return _highest(part.schedule) * _highest(part.factor)
    if isinstance(part, list):
        return max(map(_highest, part))
    if isinstance(part, Schedule):
        names = ("max_lr", "initial_lr", "lr", "schedule", "schedules")
        return max(
            (_highest(getattr(part, name)) for name in names if hasattr(part, name)), default=0
        )
    return part if isinstance(part, float) else 0.0


def cycles_of(schedule):
    """The cycles of anything that an optimizer takes for a rate, or None; see `Schedule.cycles`."""
    return schedule.cycles() if isinstance(schedule, Schedule) else None


def one_cycle_of(schedule, delay=0):
    """The `one_cycle` of any schedule whose step 0 comes at the step `delay`, or None."""
    found = schedule.one_cycle() if isinstance(schedule, Schedule) else None
    return found and (found[0], found[1] + delay)


def with_parts(schedule, replace):
    """A schedule made again with other parts.

    Args:
        schedule: Anything that an optimizer takes for a rate.
        replace: A function of the schedule, and of each part of it that may be a schedule, that
            gives what to put there, or None to look at the parts inside.

    Returns:
        The new schedule, or the same object if none of its parts is another one.
    """
    replaced = replace(schedule)
    if replaced is not None:
        return replaced
    if isinstance(schedule, list):
        parts = [with_parts(part, replace) for part in schedule]
        return parts if any(new is not old for new, old in zip(parts, schedule)) else schedule
    if not isinstance(schedule, Schedule):
        return schedule
    old = {name: getattr(schedule, name) for name in schedule._arguments()}
    new = {name: with_parts(value, replace) for name, value in old.items()}
    if all(new[name] is old[name] for name in old):
        return schedule
    return type(schedule)(**new)


def check_schedule(name, value):
    """`value`, which must be a schedule, ours or any of Keras."""
    if isinstance(value, KerasSchedule):
        return value
    raise TypeError(
        f"Argument `{name}` must be a `keras.optimizers.schedules.LearningRateSchedule`; for a "
        "fixed rate, `keras_cyclic.schedules.Constant(rate)`. "
        f"Received: {name}={_arguments.shown(value)} of type {type(value).__name__}"
    )


def evaluate(schedule, step):
    """The rate of any schedule at an integer tensor of steps of any shape, in our float dtype."""
    if isinstance(schedule, Schedule):
        return schedule.learning_rate(step)
    if len(step.shape) == 0:
        return to_float(schedule(step))
    # Schedules of Keras may branch on the step, which has one truth value only as a scalar.
    steps = ops.reshape(step, (-1,))
    try:
        rates = to_float(ops.vectorized_map(schedule, steps))
    except Exception:
        if keras.backend.backend() != "torch":
            raise
        # Its vectorized map cannot branch either, nor take no steps.
        ones = [to_float(schedule(one)) for one in steps]
        rates = ops.stack(ones) if ones else to_float(steps)
    return ops.reshape(rates, ops.shape(step))


def rates(schedule, steps):
    """The rates that an optimizer would be given by any schedule at an array of steps.

    Args:
        schedule: A `LearningRateSchedule`, of `keras_cyclic` or of Keras.
        steps: A one-dimensional NumPy integer array.

    Returns:
        A float64 NumPy array.
    """
    try:
        return rates_together(schedule, steps)
    except Exception:
        # A schedule may be written for one step at a time, with an `if` that no tensor of steps
        # can answer. What is wrong for a single step too is raised here.
        return np.array([_to_numpy(evaluate(schedule, integer_step(step))) for step in steps])


def rates_together(schedule, steps):
    """As `rates`, for schedules that can answer for all steps at once; raises for others."""
    return _to_numpy(evaluate(schedule, integer_step(steps)))


def _to_numpy(tensor):
    tensor = ops.cast(tensor, keras.config.floatx())
    return np.asarray(ops.convert_to_numpy(tensor), "float64")
