"""Schedules that a callback can adjust while a compiled step runs.

What changes is kept in variables, which the compiled step reads anew each time. An optimizer is
given one of these by the callback that adjusts it.
"""

from typing import Any

import keras
from keras import ops

from keras_cyclic import _arguments
from keras_cyclic.schedules.clock import float_dtype, to_float
from keras_cyclic.schedules.schedule import (
    KerasSchedule,
    Product,
    Schedule,
    cycles_of,
    evaluate,
    one_cycle_of,
    with_parts,
)
from keras_cyclic.schedules.wave import CyclicalWave, Wave


class _Number:
    """A Python float, and a variable in which a compiled step finds it."""

    def __init__(self, value, name):
        self.value = value
        self.variable = keras.Variable(value, dtype=float_dtype(), trainable=False, name=name)

    def set(self, value):
        self.value = value
        self.variable.assign(value)


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Scaled(Schedule):
    """A rate times a number that can be changed, and that never takes it below a lowest rate.

    ```
    rate = max(schedule(t) * scale, min(schedule(t), min_lr))
    ```

    Where the schedule itself is below `min_lr`, as in a warm-up from 0, it is left as it is.

    Args:
        schedule: A `LearningRateSchedule`, of `keras_cyclic` or of Keras, or a function without
            arguments that gives a rate, as Keras's optimizers take.
        scale: The number. Defaults to `1.0`.
        min_lr: The lowest rate to scale to. Defaults to `0.0`.

    Raises:
        ValueError: If a number is negative or not finite.
        TypeError: If an argument is of the wrong type.
    """

    def __init__(self, schedule, scale=1.0, min_lr=0.0):
        if not callable(schedule):
            raise TypeError(
                "Argument `schedule` must be a schedule or a function without arguments. "
                f"Received: schedule={_arguments.shown(schedule)} of type {type(schedule).__name__}"
            )
        self.schedule = schedule
        self._scale = _Number(_arguments.rate("scale", scale), "scale")
        self.min_lr = _arguments.rate("min_lr", min_lr)

    @property
    def scale(self):
        """The number that the schedule is multiplied by, a Python float."""
        return self._scale.value

    @scale.setter
    def scale(self, scale):
        self._scale.set(_arguments.rate("scale", scale))

    def learning_rate(self, step):
        rate = self._unscaled(step)
        scaled = rate * self._scale.variable
        return ops.maximum(scaled, ops.minimum(rate, self.min_lr)) if self.min_lr else scaled

    def _unscaled(self, step):
        if isinstance(self.schedule, KerasSchedule):
            return evaluate(self.schedule, step)
        return ops.broadcast_to(to_float(self.schedule()), ops.shape(step))

    def cycles(self):
        return cycles_of(self.schedule)

    def one_cycle(self) -> tuple[Any, int] | None:
        return one_cycle_of(self.schedule)


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Bounded(Schedule):
    """A cyclical wave between bounds that can be moved; its phase stays.

    Args:
        wave: A `Cyclical` schedule or one of its relatives, or `CosineAnnealingWarmRestarts`.
        base_lr: The lower bound. Defaults to the wave's own.
        max_lr: The upper bound, for the first cycle of a wave that shrinks. Defaults to the wave's
            own.

    Raises:
        ValueError: If a rate is negative or not finite, or `base_lr` is above `max_lr`.
        TypeError: If an argument is of the wrong type.
    """

    def __init__(self, wave, base_lr=None, max_lr=None):
        if not isinstance(wave, CyclicalWave):
            raise TypeError(
                "Argument `wave` must be a cyclical schedule of `keras_cyclic.schedules`. "
                f"Received: wave={_arguments.shown(wave)} of type {type(wave).__name__}"
            )
        self.wave = wave
        own_base_lr, own_max_lr = wave.bounds
        self._base_lr = _Number(own_base_lr, "base_lr")
        self._max_lr = _Number(own_max_lr, "max_lr")
        self.move(
            own_base_lr if base_lr is None else base_lr, own_max_lr if max_lr is None else max_lr
        )

    @property
    def base_lr(self):
        """The lower bound, a Python float."""
        return self._base_lr.value

    @property
    def max_lr(self):
        """The upper bound, a Python float."""
        return self._max_lr.value

    def move(self, base_lr, max_lr):
        """Moves the bounds, for all steps from now on."""
        max_lr = _arguments.rate("max_lr", max_lr)
        self._base_lr.set(_arguments.rate_up_to("base_lr", base_lr, "max_lr", max_lr))
        self._max_lr.set(max_lr)

    def learning_rate(self, step):
        return self.wave.learning_rate_between(self._base_lr.variable, self._max_lr.variable, step)

    def cycles(self):
        return self.wave.cycles()


def with_movable_bounds(schedule):
    """A schedule with each cyclical wave in it made `Bounded`.

    Args:
        schedule: Anything that an optimizer takes for a rate.

    Returns:
        A pair: the schedule, the same object if there was nothing to do, and a list of the
        `Bounded` waves in it.
    """
    waves = []

    def make_bounded(part):
        if not isinstance(part, (CyclicalWave, Bounded)):
            return None
        waves.append(part if isinstance(part, Bounded) else Bounded(part))
        return waves[-1]

    return with_parts(schedule, make_bounded), waves


def without_moves(schedule):
    """A schedule with the bounds that its waves had before they were moved."""
    return with_parts(schedule, lambda part: part.wave if isinstance(part, Bounded) else None)


def wave_of(schedule):
    """The wave that a learning rate follows, times a number or not; None if it follows none."""
    schedule = without_moves(schedule)
    while isinstance(schedule, Scaled) or (
        isinstance(schedule, Product) and isinstance(schedule.factor, float)
    ):
        schedule = schedule.schedule
    return schedule if isinstance(schedule, Wave) else None


def adjustments(schedule):
    """The numbers in a schedule that may change, as they are now: a list of Python floats."""
    numbers = []

    def look(part):
        if isinstance(part, Scaled):
            numbers.append(part.scale)
        elif isinstance(part, Bounded):
            numbers.extend((part.base_lr, part.max_lr))

    with_parts(schedule, look)
    return numbers
