"""1cycle: one wave over the whole training, and a tail that goes far below its start."""

import math
from typing import Any

import keras
from keras import ops

from keras_cyclic import _arguments, profiles
from keras_cyclic._types import Integer, Real, Tensor
from keras_cyclic.schedules.clock import Move, at_most, before, either
from keras_cyclic.schedules.cycle_starts import CycleStarts, ListedCycles
from keras_cyclic.schedules.wave import Wave


@keras.saving.register_keras_serializable(package="keras_cyclic")
class OneCycle(Wave):
    """The 1cycle policy: up to a high rate, and down to almost nothing by the last step.

    ```
    initial_lr = max_lr / div_factor
    final_lr   = initial_lr / final_div_factor
    peak       = pct_start * total_steps - 1

    from step 0 to peak                       initial_lr -> max_lr
    from peak to step total_steps - 1         max_lr -> final_lr
    ```

    or with `three_phase=True`, where `valley = 2 * pct_start * total_steps - 2`,

    ```
    from step 0 to peak                       initial_lr -> max_lr
    from peak to valley                       max_lr -> initial_lr
    from valley to step total_steps - 1       initial_lr -> final_lr
    ```

    and each move from `A` to `B` is `A + (B - A) * p(z)` with the profile `p` and `z` from 0 to
    1. Steps past the end hold `final_lr`. A `pct_start` over one half leaves three phases no
    time for the last one: they are cut off at `total_steps`, as PyTorch does.

    A `fit` whose end is off the cycle's by more than a tenth gives a `UserWarning` with both, once
    for a schedule. Where several calls of `fit` make one cycle together, silence it with
    `warnings.filterwarnings("ignore", message="OneCycle")`.

    Args:
        max_lr: The learning rate at the peak.
        total_steps: Steps in the whole training: epochs times batches per epoch.
        pct_start: The share of the steps spent rising. Defaults to `0.3`.
        div_factor: How many times lower than `max_lr` the training starts. Defaults to `25.0`.
        final_div_factor: How many times lower than its start it ends. Defaults to `1e4`.
        profile: The shape of the moves: anything that `keras_cyclic.profiles.get` takes, or a
            pair, `(up, down)`. Defaults to `"cosine"`.
        three_phase: A boolean: whether to come down as fast as up, and then sink below the
            start in a phase of its own, as in the paper. Defaults to `False`.

    Raises:
        ValueError: If `max_lr` is negative or not finite, `total_steps` not a positive whole
            number, `pct_start` not between 0 and 1, a factor would put an end above the peak, a
            profile is unknown, or Keras could not save a function.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.OneCycle(max_lr=0.1, total_steps=100)
    >>> [round(float(schedule(step)), 5) for step in (0, 29, 64, 99)]
    [0.004, 0.1, 0.05, 0.0]

    Reference:

    - [Smith and Topin, 2018](https://arxiv.org/abs/1708.07120)
    - [Smith, 2018](https://arxiv.org/abs/1803.09820)
    """

    def __init__(
        self,
        max_lr: Real,
        total_steps: Integer,
        pct_start: Real = 0.3,
        div_factor: Real = 25.0,
        final_div_factor: Real = 1e4,
        profile: profiles.ProfileLike
        | tuple[profiles.ProfileLike, profiles.ProfileLike]
        | list[profiles.ProfileLike] = "cosine",
        three_phase: bool = False,
    ) -> None:
        self.max_lr = _arguments.rate("max_lr", max_lr)
        self.total_steps = _arguments.length("total_steps", total_steps)
        self.pct_start = _arguments.fraction("pct_start", pct_start)
        self.div_factor = _arguments.at_least_one("div_factor", div_factor)
        self.final_div_factor = _arguments.positive("final_div_factor", final_div_factor)
        self.profile = profile
        self.three_phase = _arguments.boolean("three_phase", three_phase)
        self._initial_lr = self.max_lr / self.div_factor
        self._final_lr = self._initial_lr / self.final_div_factor
        if self.div_factor * self.final_div_factor < 1:
            raise ValueError(
                "Arguments `div_factor` and `final_div_factor` must not multiply to less than 1, "
                "or the rate would end above `max_lr`. Received: "
                f"div_factor={div_factor!r}, final_div_factor={final_div_factor!r}"
            )
        self._up, self._down = map(profiles.get, _pair(profile))
        self._peak = self.pct_start * self.total_steps - 1
        self._valley = 2 * self.pct_start * self.total_steps - 2
        self._last = self.total_steps - 1
        self._rise = Move(0, self._peak)
        self._fall = Move(self._peak, self._valley if self.three_phase else self._last)
        self._tail = Move(self._valley, self._last)

    @property
    def bounds(self) -> tuple[float, float]:
        return min(self._initial_lr, self._final_lr), self.max_lr

    def learning_rate(self, step: Tensor) -> Tensor:
        step = at_most(step, self._last)
        rising, before_tail = self._phase(step)
        # What the first moves rest on is where the training starts; then comes the end.
        first, high = (before_tail, self._initial_lr) if self.three_phase else (rising, self.max_lr)
        low = either(first, self._initial_lr, self._final_lr)
        amplitude = either(first, self.max_lr - self._initial_lr, high - self._final_lr)
        return low + amplitude * self._height_in_phase(step, rising, before_tail)

    def cycles(self) -> CycleStarts | None:
        return ListedCycles((0, self.total_steps))

    def one_cycle(self) -> tuple[Any, int] | None:
        return self, 0

    def height(self, step: Tensor) -> Tensor:
        """How high the wave stands: 0 at the start and at the end, 1 at the peak.

        In the last of three phases, below the start, it stays 0.

        Args:
            step: An integer tensor of any shape.

        Returns:
            A float tensor in the shape of `step`, from 0 to 1.
        """
        step = at_most(step, self._last)
        rising, before_tail = self._phase(step)
        height = self._height_in_phase(step, rising, before_tail)
        return either(before_tail, height, 0.0) if self.three_phase else height

    def _phase(self, step):
        rising = before(step, math.ceil(self._peak))
        before_tail = before(step, math.floor(self._valley) + 1) if self.three_phase else None
        return rising, before_tail

    def _height_in_phase(self, step, rising, before_tail):
        left = self._fall.left(step)
        if self.three_phase:
            left = ops.where(before_tail, left, self._tail.left(step))
        falling = self._down.remaining(self._down.within(left))
        return ops.where(rising, self._up.rise(self._rise, step), falling)


def _pair(profile):
    if not isinstance(profile, (list, tuple)):
        return profile, profile
    if len(profile) != 2:
        raise ValueError(
            "Argument `profile` must be one profile or a pair, (up, down). "
            f"Received: profile={_arguments.shown(profile)}"
        )
    return profile
