"""The wave that the schedules are made of.

1. The *clock* (`clock.py`) turns the integer step into a cycle and a position in it.
2. The *profile* (`keras_cyclic/profiles.py`) turns the position into a height from 0 to 1.
3. The *envelope* (`envelope.py`) makes a cycle taller or lower than the first.
4. The *bounds* turn the height into a learning rate. They are here.
"""

from keras_cyclic._types import Tensor
from keras_cyclic.schedules.cycle_starts import CycleStarts
from keras_cyclic.schedules.schedule import Schedule


class Wave(Schedule):
    """Base class of the schedules that move between two bounds.

    ```
    rate = low + (high - low) * height
    ```

    A subclass implements `height(step)` and `bounds`. One whose lower bound changes on the way, as
    `OneCycle`, implements `learning_rate(step)` too. One that comes back again and again is a
    `CyclicalWave`.
    """

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest learning rate, as a pair of Python floats."""
        raise NotImplementedError(f"{type(self).__name__} must implement `bounds`.")

    def height(self, step: Tensor) -> Tensor:
        """How high the wave stands between its bounds, the envelope included.

        Args:
            step: An integer tensor of any shape.

        Returns:
            A float tensor in the shape of `step`, from 0 to 1.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `height(self, step)`.")

    def learning_rate(self, step: Tensor) -> Tensor:
        low, high = self.bounds
        return above(low, (high - low) * self.height(step))


def above(low, rate):
    """`low + rate`, without an operation in the graph for a lower bound of 0."""
    return rate if isinstance(low, float) and low == 0 else rate + low


class CyclicalWave(Wave):
    """Base class of the waves with cycles, whose bounds may be moved from one to the next.

    A subclass keeps its clock as `_clock` and implements `learning_rate_between`.
    """

    def learning_rate_between(self, low: Tensor, high: Tensor, step: Tensor) -> Tensor:
        """The rate at `step` if the wave had other bounds.

        Args:
            low: The lower bound, a Python float or a scalar tensor.
            high: The upper bound, likewise.
            step: An integer tensor of any shape.

        Returns:
            A float tensor in the shape of `step`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `learning_rate_between(self, low, high, step)`."
        )

    def learning_rate(self, step: Tensor) -> Tensor:
        return self.learning_rate_between(*self.bounds, step)

    def cycles(self) -> CycleStarts | None:
        return self._clock.starts()


def against(height, low, high):
    """What moves between two bounds against a wave, as the momentum: lowest at its crest."""
    return high - (high - low) * height
