"""Schedules made of schedules: warm-up, one after another, sampled more rarely."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_cyclic import _arguments, profiles
from keras_cyclic._types import Integer, Integers, Real, Tensor
from keras_cyclic.schedules.adjustable import adjustments, without_moves
from keras_cyclic.schedules.clock import (
    Cycles,
    Move,
    at_least,
    before,
    countable,
    float_dtype,
    integer_step,
)
from keras_cyclic.schedules.cycle_starts import (
    NO_CYCLES,
    CycleStarts,
    DelayedCycles,
    JoinedCycles,
    SampledCycles,
)
from keras_cyclic.schedules.schedule import (
    KerasSchedule,
    Schedule,
    check_schedule,
    cycles_of,
    evaluate,
    one_cycle_of,
)


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Constant(Schedule):
    """The same learning rate at every step, as a part of a composition.

    Args:
        lr: The learning rate.

    Raises:
        ValueError: If `lr` is negative or not finite.
        TypeError: If `lr` is not a number.

    Example:

    >>> import keras_cyclic as kc
    >>> round(float(kc.schedules.Constant(0.1)(1000)), 6)
    0.1
    """

    def __init__(self, lr: Real) -> None:
        self.lr = _arguments.rate("lr", lr)

    def learning_rate(self, step: Tensor) -> Tensor:
        return ops.full_like(step, self.lr, dtype=float_dtype())


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Warmup(Schedule):
    """A climb to the start of a schedule, and then that schedule.

    ```
    rate = initial_lr + (schedule(0) - initial_lr) * p(t / warmup_steps)     while t < warmup_steps
    rate = schedule(t - warmup_steps)                                        after that
    ```

    with the profile `p`.

    Args:
        schedule: A `LearningRateSchedule`, of `keras_cyclic` or of Keras. Its step 0 comes at
            the end of the climb.
        warmup_steps: The length of the climb in steps.
        initial_lr: The learning rate at step 0. Defaults to `0.0`.
        profile: The shape of the climb: anything that `keras_cyclic.profiles.get` takes.
            Defaults to `"linear"`.

    Raises:
        ValueError: If `warmup_steps` is not a positive whole number, `initial_lr` is negative,
            not finite or above `schedule(0)`, or the profile is unknown or could not be saved.
        TypeError: If `schedule` is not a schedule or an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.Warmup(kc.schedules.CosineAnnealing(0.1, 100), warmup_steps=10)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 60)]
    [0.0, 0.05, 0.1, 0.05]

    Reference:

    - [Goyal et al., 2017](https://arxiv.org/abs/1706.02677)
    """

    def __init__(
        self,
        schedule: KerasSchedule,
        warmup_steps: Integer,
        initial_lr: Real = 0.0,
        profile: profiles.ProfileLike = "linear",
    ) -> None:
        self.schedule = check_schedule("schedule", schedule)
        self.warmup_steps = _arguments.length("warmup_steps", warmup_steps)
        # What was moved since the training began must not make these arguments wrong.
        start = evaluate(without_moves(self.schedule), integer_step(0))
        self._peak = float(ops.convert_to_numpy(start))
        self.initial_lr = _arguments.rate("initial_lr", initial_lr)
        # The peak has been rounded to float32.
        if not self.initial_lr <= self._peak * (1 + 1e-6) < math.inf:
            raise ValueError(
                "Argument `initial_lr` must not be above `schedule(0)`, which must be finite. "
                f"Received: initial_lr={initial_lr!r}, schedule(0)={self._peak!r}"
            )
        self.profile = profile
        self._profile = profiles.get(profile)
        self._rise = Move(0, self.warmup_steps)

    def learning_rate(self, step: Tensor) -> Tensor:
        if adjustments(self.schedule):
            # In a later part of a Sequential, the climb begins when bounds have been moved.
            peak = evaluate(self.schedule, step * 0)
            climbing = self._profile.rise(self._rise, step) * (peak - self.initial_lr)
        else:
            climbing = self._profile.rise(self._rise, step, self._peak - self.initial_lr)
        if self.initial_lr:
            climbing = climbing + self.initial_lr
        return _then(self.schedule, self.warmup_steps, step, climbing)

    def cycles(self) -> CycleStarts | None:
        cycles = cycles_of(self.schedule)
        return cycles and DelayedCycles(cycles, self.warmup_steps)

    def one_cycle(self) -> tuple[Any, int] | None:
        return one_cycle_of(self.schedule, self.warmup_steps)


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Sequential(Schedule):
    """Schedules one after another, each of which counts from its own boundary.

    ```
    rate = schedules[0](t)                         while t < boundaries[0]
    rate = schedules[i](t - boundaries[i - 1])     while boundaries[i - 1] <= t < boundaries[i]
    ```

    The last one has no end.

    Args:
        schedules: A list of `LearningRateSchedule`, of `keras_cyclic` or of Keras.
        boundaries: A list of the steps at which the next one begins, strictly increasing: one
            fewer than there are schedules.

    Raises:
        ValueError: If there is no schedule, or `boundaries` are not one fewer than `schedules`
            or not positive whole numbers that increase.
        TypeError: If `schedules` is not a list of schedules, or `boundaries` not a list.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.Sequential(
    ...     [kc.schedules.Constant(0.1), kc.schedules.LinearDecay(0.1, 10)], boundaries=[100]
    ... )
    >>> [round(float(schedule(step)), 4) for step in (99, 100, 105, 110)]
    [0.1, 0.1, 0.05, 0.0]
    """

    def __init__(self, schedules: Sequence[KerasSchedule], boundaries: Integers) -> None:
        if not isinstance(schedules, (list, tuple)):
            raise TypeError(
                "Argument `schedules` must be a list of schedules. "
                f"Received: schedules={_arguments.shown(schedules)} "
                f"of type {type(schedules).__name__}"
            )
        self.schedules = [
            check_schedule(f"schedules[{i}]", schedule) for i, schedule in enumerate(schedules)
        ]
        self.boundaries = _arguments.increasing_lengths("boundaries", boundaries)
        if len(self.boundaries) + 1 != len(self.schedules):
            raise ValueError(
                "Argument `boundaries` must have one entry fewer than `schedules`. Received: "
                f"{len(self.boundaries)} boundaries for {len(self.schedules)} schedules"
            )

    def learning_rate(self, step: Tensor) -> Tensor:
        rate = evaluate(self.schedules[0], step)
        for schedule, boundary in zip(self.schedules[1:], self.boundaries):
            rate = _then(schedule, boundary, step, rate)
        return rate

    def cycles(self) -> CycleStarts | None:
        found = [cycles_of(schedule) for schedule in self.schedules]
        if not any(found):
            return None
        return JoinedCycles(tuple(cycles or NO_CYCLES for cycles in found), tuple(self.boundaries))

    def one_cycle(self) -> tuple[Any, int] | None:
        return one_cycle_of(self.schedules[-1], ([0] + self.boundaries)[-1])


def _then(schedule, boundary, step, rate):
    """`rate` before `boundary`, and from there on `schedule`, counting from its own step 0."""
    part = evaluate(schedule, at_least(step - countable(boundary, step), 0))
    return ops.where(before(step, boundary), rate, part)


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Sampled(Schedule):
    """A schedule looked at every so many steps only, and held in between.

    ```
    rate = schedule(every * floor(t / every))
    ```

    With `every` the steps of an epoch, the rate changes once an epoch.

    Args:
        schedule: A `LearningRateSchedule`, of `keras_cyclic` or of Keras.
        every: Steps between two looks.

    Raises:
        ValueError: If `every` is not a positive whole number.
        TypeError: If `schedule` is not a schedule or `every` not a number.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.Sampled(kc.schedules.LinearDecay(1.0, 100), every=25)
    >>> [round(float(schedule(step)), 4) for step in (0, 24, 25, 99, 100)]
    [1.0, 1.0, 0.75, 0.25, 0.0]

    Reference:

    - [Chen, Wolfe and Kyrillidis, 2022](https://arxiv.org/abs/2107.04197)
    """

    def __init__(self, schedule: KerasSchedule, every: Integer) -> None:
        self.schedule = check_schedule("schedule", schedule)
        self.every = _arguments.length("every", every)

    def learning_rate(self, step: Tensor) -> Tensor:
        return evaluate(self.schedule, step - Cycles(self.every).offset(step))

    def cycles(self) -> CycleStarts | None:
        cycles = cycles_of(self.schedule)
        return cycles and SampledCycles(cycles, self.every)

    def one_cycle(self) -> tuple[Any, int] | None:
        return one_cycle_of(self.schedule)
