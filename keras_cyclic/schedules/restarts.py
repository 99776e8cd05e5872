"""Warm restarts: a fall to the lowest rate, and at once back up."""

import keras
from keras import ops

from keras_cyclic import _arguments, profiles
from keras_cyclic._types import Integer, Real, Tensor
from keras_cyclic.schedules.clock import Cycles, GrowingCycles
from keras_cyclic.schedules.envelope import geometric
from keras_cyclic.schedules.wave import CyclicalWave, above


@keras.saving.register_keras_serializable(package="keras_cyclic")
class CosineAnnealingWarmRestarts(CyclicalWave):
    """Cosine annealing with warm restarts (SGDR).

    ```
    rate = final_lr + (peak - final_lr) * (1 - p(r / length))
    peak = max(initial_lr * m_mul ** n, final_lr)
    ```

    in cycle `n`, counted from 0, `r` steps after its restart, with the profile `p`. Cycle `n` is
    `first_decay_steps * t_mul ** n` steps long, which is carried on exactly and rounded to the
    nearest whole number of steps (a half up) for each cycle: with `t_mul=1.5`, a first cycle of
    5 steps is followed by cycles of 8, 11, 17 and 25.

    Args:
        initial_lr: The learning rate at the start and at the peak of the first cycle.
        first_decay_steps: The length of the first cycle in steps.
        t_mul: The factor on the length from one cycle to the next, 1 or more. Defaults to `1.0`.
        m_mul: The factor on the peak from one cycle to the next, above 0 and at most 1. Defaults
            to `1.0`.
        final_lr: The learning rate that each cycle falls towards. Defaults to `0.0`.
        profile: The shape of the fall: anything that `keras_cyclic.profiles.get` takes. Defaults
            to `"cosine"`.

    Raises:
        ValueError: If a rate is negative or not finite, `final_lr` is above `initial_lr`,
            `first_decay_steps` is not a positive whole number, `t_mul` is below 1 or so little
            above it that there would be more than 8,192 restarts, `m_mul` is not above 0 and at
            most 1, or the profile is unknown or could not be saved.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.CosineAnnealingWarmRestarts(0.1, 10, t_mul=2.0)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 20, 30)]
    [0.1, 0.05, 0.1, 0.05, 0.1]

    Reference:

    - [Loshchilov and Hutter, 2017](https://arxiv.org/abs/1608.03983)
    """

    def __init__(
        self,
        initial_lr: Real,
        first_decay_steps: Integer,
        t_mul: Real = 1.0,
        m_mul: Real = 1.0,
        final_lr: Real = 0.0,
        profile: profiles.ProfileLike = "cosine",
    ) -> None:
        self.initial_lr = _arguments.rate("initial_lr", initial_lr)
        self.first_decay_steps = _arguments.length("first_decay_steps", first_decay_steps)
        self.t_mul = _arguments.at_least_one("t_mul", t_mul)
        self.m_mul = _arguments.decay_factor("m_mul", m_mul)
        self.final_lr = _arguments.rate_up_to("final_lr", final_lr, "initial_lr", self.initial_lr)
        self.profile = profile
        self._profile = profiles.get(profile)
        self._clock: Cycles | GrowingCycles
        if self.t_mul == 1:
            self._clock = Cycles(self.first_decay_steps)
        else:
            self._clock = GrowingCycles(self.first_decay_steps, self.t_mul)

    @property
    def bounds(self) -> tuple[float, float]:
        return self.final_lr, self.initial_lr

    def height(self, step: Tensor) -> Tensor:
        low, high = self.bounds
        height, scale = self._fall(step)
        if self.m_mul == 1:
            return height
        if low and low != high:
            scale = ops.maximum((high * scale - low) / (high - low), 0.0)
        return height * scale

    def learning_rate_between(self, low: Tensor, high: Tensor, step: Tensor) -> Tensor:
        height, scale = self._fall(step)
        amplitude = high - low if self.m_mul == 1 else ops.maximum(high * scale - low, 0.0)
        return above(low, amplitude * height)

    def _fall(self, step):
        """How much of the fall is left, and the cycle's peak as a share of the first one's."""
        cycle = self._clock.index(step)
        scale = 1.0 if self.m_mul == 1 else geometric(self.m_mul, cycle)
        return self._profile.fall(*self._clock.move(step, cycle)), scale
