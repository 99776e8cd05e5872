"""Cyclical rates: up and down between two bounds, again and again."""

import functools
from collections.abc import Callable
from typing import Literal

import keras
from keras import ops

from keras_cyclic import _arguments, profiles
from keras_cyclic._types import Integer, Real, Tensor
from keras_cyclic.schedules import envelope
from keras_cyclic.schedules.clock import Cycles, Move, before
from keras_cyclic.schedules.wave import CyclicalWave, above


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Cyclical(CyclicalWave):
    """A learning rate that rises and falls between two bounds.

    ```
    cycle  = floor(t / (step_size + step_size_down))             counted from 0
    r      = t - cycle * (step_size + step_size_down)
    height = p(r / step_size)                                    while r < step_size
    height = 1 - p((r - step_size) / step_size_down)             after that
    rate   = base_lr + (max_lr - base_lr) * height * scale
    ```

    with the profile `p`, and with `scale` from `scale_fn`.

    Args:
        base_lr: The lowest learning rate.
        max_lr: The learning rate at the peak of the first cycle.
        step_size: Steps from the lowest to the highest rate: half a cycle, unless
            `step_size_down` is given. The usual choice is 2 to 10 epochs.
        step_size_down: Steps back down. Defaults to `step_size`.
        profile: The shape of both sides: `"linear"`, `"cosine"`, `"exponential"`, `"rex"`,
            `"polynomial"`, a profile, or a registered function (see
            `keras_cyclic.profiles.get`). Defaults to `"linear"`.
        scale_fn: The factor on the amplitude: `"constant"`, `"halve"` (halved each cycle), or a
            function registered with `keras.saving.register_keras_serializable`, which takes and
            gives a float tensor of any shape (in float32, which counts by ones up to 2**24).
            Defaults to `"constant"`.
        scale_mode: What a function is called with: `"cycle"`, the number of the cycle, counted
            from 1, or `"iterations"`, the step. Defaults to `"cycle"`.

    Raises:
        ValueError: If a rate is negative or not finite, `base_lr` is above `max_lr`, a length is
            not a positive whole number, a name is unknown, or Keras could not save a function.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.Cyclical(0.001, 0.005, step_size=4, profile="cosine")
    >>> [round(float(rate), 4) for rate in schedule(range(9))]
    [0.001, 0.0016, 0.003, 0.0044, 0.005, 0.0044, 0.003, 0.0016, 0.001]

    Reference:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    """

    def __init__(
        self,
        base_lr: Real,
        max_lr: Real,
        step_size: Integer,
        step_size_down: Integer | None = None,
        profile: profiles.ProfileLike = "linear",
        scale_fn: Literal["constant", "halve"] | Callable[[Tensor], Tensor] = "constant",
        scale_mode: Literal["cycle", "iterations"] = "cycle",
    ) -> None:
        self.max_lr = _arguments.rate("max_lr", max_lr)
        self.base_lr = _arguments.rate_up_to("base_lr", base_lr, "max_lr", self.max_lr)
        self.step_size = _arguments.length("step_size", step_size)
        self.step_size_down = (
            None if step_size_down is None else _arguments.length("step_size_down", step_size_down)
        )
        self.profile = profile
        self.scale_fn = scale_fn
        self.scale_mode = scale_mode
        self._profile = profiles.get(profile)
        self._envelope = envelope.get(scale_fn, scale_mode)
        cycle_length = self.step_size + (self.step_size_down or self.step_size)
        self._clock = Cycles(cycle_length)
        self._rise = Move(0, self.step_size)
        self._fall = Move(self.step_size, cycle_length)

    @property
    def bounds(self) -> tuple[float, float]:
        return self.base_lr, self.max_lr

    def learning_rate(self, step: Tensor) -> Tensor:
        if isinstance(self._profile, profiles.Linear) and self._envelope is envelope.constant:
            # Optimizers with weight decay evaluate the rate once a variable: multiplying the
            # slopes by the amplitude here saves a multiplication in the graph.
            amplitude = self.max_lr - self.base_lr
            return self.base_lr + self._share_of_climb(self._clock.offset(step), amplitude)
        return super().learning_rate(step)

    def learning_rate_between(self, low: Tensor, high: Tensor, step: Tensor) -> Tensor:
        return above(low, (high - low) * self.height(step))

    def height(self, step: Tensor) -> Tensor:
        height = self._height_in_cycle(self._clock.offset(step))
        if self._envelope is envelope.constant:
            return height
        return height * self._envelope(self._clock, step)

    def _height_in_cycle(self, offset):
        if isinstance(self._profile, profiles.SymmetricProfile):
            return self._profile(self._share_of_climb(offset))
        rising = self._profile.rise(self._rise, offset)
        falling = self._profile.fall(self._fall, offset)
        return ops.where(before(offset, self.step_size), rising, falling)

    def _share_of_climb(self, offset, whole=1.0):
        """How far the rate is from the lowest point, on either side of the peak."""
        return ops.minimum(self._rise.done(offset, whole), self._fall.left(offset, whole))


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Triangular(Cyclical):
    """Straight up and straight down between two bounds.

    ```
    rate = base_lr + (max_lr - base_lr) * min(r / step_size, (cycle_length - r) / step_size_down)
    ```

    with `cycle_length = step_size + step_size_down` and `r = t mod cycle_length`.

    Args:
        base_lr: The lowest learning rate.
        max_lr: The highest learning rate.
        step_size: Steps from the lowest to the highest rate: half a cycle, unless
            `step_size_down` is given. The usual choice is 2 to 10 epochs.
        step_size_down: Steps back down. Defaults to `step_size`.

    Raises:
        ValueError: If a rate is negative or not finite, `base_lr` is above `max_lr`, or a length
            is not a positive whole number.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.Triangular(base_lr=0.001, max_lr=0.006, step_size=2000)
    >>> [round(float(schedule(step)), 6) for step in (0, 1000, 2000, 3000, 4000)]
    [0.001, 0.0035, 0.006, 0.0035, 0.001]

    Reference:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    """

    def __init__(
        self, base_lr: Real, max_lr: Real, step_size: Integer, step_size_down: Integer | None = None
    ) -> None:
        super().__init__(base_lr, max_lr, step_size, step_size_down)


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Triangular2(Cyclical):
    """Straight up and down, the amplitude halved after each cycle.

    ```
    height = min(r / step_size, (cycle_length - r) / step_size_down)
    rate   = base_lr + (max_lr - base_lr) * height / 2 ** floor(t / cycle_length)
    ```

    with `cycle_length = step_size + step_size_down` and `r = t mod cycle_length`.

    Args:
        base_lr: The lowest learning rate.
        max_lr: The learning rate at the peak of the first cycle.
        step_size: Steps from the lowest to the highest rate: half a cycle, unless
            `step_size_down` is given. The usual choice is 2 to 10 epochs.
        step_size_down: Steps back down. Defaults to `step_size`.

    Raises:
        ValueError: If a rate is negative or not finite, `base_lr` is above `max_lr`, or a length
            is not a positive whole number.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.Triangular2(base_lr=0.001, max_lr=0.005, step_size=10)
    >>> [round(float(schedule(step)), 6) for step in (10, 30, 50)]
    [0.005, 0.003, 0.002]

    Reference:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    """

    def __init__(
        self, base_lr: Real, max_lr: Real, step_size: Integer, step_size_down: Integer | None = None
    ) -> None:
        super().__init__(base_lr, max_lr, step_size, step_size_down, scale_fn="halve")


@keras.saving.register_keras_serializable(package="keras_cyclic")
class ExpRange(Cyclical):
    """Straight up and down, the amplitude shrinking at every step.

    ```
    height = min(r / step_size, (cycle_length - r) / step_size_down)
    rate   = base_lr + (max_lr - base_lr) * height * gamma ** t
    ```

    with `cycle_length = step_size + step_size_down` and `r = t mod cycle_length`.

    Args:
        base_lr: The lowest learning rate.
        max_lr: The upper bound that the first cycle nearly reaches.
        step_size: Steps from the lowest to the highest rate: half a cycle, unless
            `step_size_down` is given. The usual choice is 2 to 10 epochs.
        gamma: The factor on the amplitude for each step, above 0 and at most 1: close to 1, as
            0.99994.
        step_size_down: Steps back down. Defaults to `step_size`.

    Raises:
        ValueError: If a rate is negative or not finite, `base_lr` is above `max_lr`, a length is
            not a positive whole number, or `gamma` is not above 0 and at most 1.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.ExpRange(0.0, 1.0, step_size=10, gamma=0.99)
    >>> [round(float(schedule(step)), 4) for step in (10, 30)]
    [0.9044, 0.7397]

    Reference:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    """

    def __init__(
        self,
        base_lr: Real,
        max_lr: Real,
        step_size: Integer,
        gamma: Real,
        step_size_down: Integer | None = None,
    ) -> None:
        super().__init__(base_lr, max_lr, step_size, step_size_down)
        self.gamma = _arguments.decay_factor("gamma", gamma)
        self._envelope = functools.partial(envelope.exponential, self.gamma)
