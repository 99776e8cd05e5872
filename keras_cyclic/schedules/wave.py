"""The wave that the schedules are made of.

1. The *clock* (`clock.py`) turns the integer step into a cycle and a position in it.
2. The *profile* (`keras_cyclic/profiles.py`) turns the position into a height from 0 to 1.
3. The *envelope* (`envelope.py`) makes a cycle taller or lower than the first.
4. The *bounds* turn the height into a learning rate. They are here.
"""

from keras_cyclic.schedules.schedule import Product, Schedule


class Wave(Schedule):
    """Base class of the schedules that move between two bounds.

    ```
    rate = low + (high - low) * height
    ```

    A subclass implements `height(step)` and `bounds`. One whose lower bound changes on the way, as
    `OneCycle`, implements `learning_rate(step)` too.
    """

    @property
    def bounds(self):
        """The lowest and the highest learning rate, as a pair of Python floats."""
        raise NotImplementedError(f"{type(self).__name__} must implement `bounds`.")

    def height(self, step):
        """How high the wave stands between its bounds, the envelope included.

        Args:
            step: An integer tensor of any shape.

        Returns:
            A float tensor in the shape of `step`, from 0 to 1.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `height(self, step)`.")

    def learning_rate(self, step):
        low, high = self.bounds
        rate = (high - low) * self.height(step)
        return rate + low if low else rate


def wave_of(schedule):
    """The wave that a learning rate follows, times a number or not; None if it follows none."""
    while isinstance(schedule, Product) and isinstance(schedule.factor, float):
        schedule = schedule.schedule
    return schedule if isinstance(schedule, Wave) else None


def against(height, low, high):
    """What moves between two bounds against a wave, as the momentum: lowest at its crest."""
    return high - (high - low) * height
