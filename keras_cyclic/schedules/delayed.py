"""A wave that begins later, for an optimizer that has already trained."""

from typing import Any

import keras

from keras_cyclic import _arguments
from keras_cyclic._types import Integer, Tensor
from keras_cyclic.schedules.clock import at_least, countable
from keras_cyclic.schedules.cycle_starts import CycleStarts, DelayedCycles
from keras_cyclic.schedules.schedule import KerasSchedule, check_schedule, one_cycle_of
from keras_cyclic.schedules.wave import Wave


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Delayed(Wave):
    """A wave whose step 0 comes at a later step of the optimizer.

    ```
    rate = schedule(max(t - delay, 0))
    ```

    Unlike in a `Sequential`, it stays a wave, that momentum can follow.

    Args:
        schedule: One of the schedules of `keras_cyclic` that move between two bounds.
        delay: The step at which it begins.

    Raises:
        ValueError: If `delay` is not a positive whole number.
        TypeError: If `schedule` is not such a schedule, or `delay` not a number.

    Example:

    >>> import keras_cyclic as kc
    >>> from keras_cyclic.schedules.delayed import Delayed
    >>> schedule = Delayed(kc.schedules.LinearDecay(0.1, decay_steps=10), delay=100)
    >>> [round(float(schedule(step)), 4) for step in (0, 100, 105, 110)]
    [0.1, 0.1, 0.05, 0.0]
    """

    def __init__(self, schedule: KerasSchedule, delay: Integer) -> None:
        if not isinstance(check_schedule("schedule", schedule), Wave):
            raise TypeError(
                "Argument `schedule` must be a schedule of `keras_cyclic` that moves between two "
                f"bounds. Received: schedule={_arguments.shown(schedule)} "
                f"of type {type(schedule).__name__}"
            )
        self.schedule = schedule
        self.delay = _arguments.length("delay", delay)

    @property
    def bounds(self) -> tuple[float, float]:
        return self.schedule.bounds

    def learning_rate(self, step: Tensor) -> Tensor:
        return self.schedule.learning_rate(self._since(step))

    def height(self, step: Tensor) -> Tensor:
        return self.schedule.height(self._since(step))

    def cycles(self) -> CycleStarts | None:
        cycles = self.schedule.cycles()
        return cycles and DelayedCycles(cycles, self.delay)

    def one_cycle(self) -> tuple[Any, int] | None:
        return one_cycle_of(self.schedule, self.delay)

    def _since(self, step):
        return at_least(step - countable(self.delay, step), 0)
