"""Warm-up, plateau, decay: the trapezoid."""

import keras

from keras_cyclic import _arguments, profiles
from keras_cyclic._types import Integer, Real, Tensor
from keras_cyclic.schedules.clock import Move, at_least, at_most, before, countable, either
from keras_cyclic.schedules.schedule import Schedule


@keras.saving.register_keras_serializable(package="keras_cyclic")
class WarmupStableDecay(Schedule):
    """A straight warm-up from 0, a plateau, and a fall (WSD, the trapezoidal schedule).

    ```
    rate = max_lr * t / warmup_steps                                        up to the plateau
    rate = max_lr                                                           for stable_steps
    rate = final_lr + (max_lr - final_lr) * (1 - p(z))                      for decay_steps
    rate = final_lr                                                         after that
    ```

    with the profile `p` and `z` going from 0 to 1 in `decay_steps` steps.

    Args:
        max_lr: The learning rate on the plateau.
        warmup_steps: The length of the warm-up in steps.
        stable_steps: The length of the plateau in steps.
        decay_steps: The length of the fall in steps.
        final_lr: The learning rate at the end. Defaults to `0.0`.
        decay_profile: The shape of the fall: anything that `keras_cyclic.profiles.get` takes.
            Defaults to `"linear"`.

    Raises:
        ValueError: If a rate is negative or not finite, `final_lr` is above `max_lr`, a length
            is not a positive whole number, or the profile is unknown or could not be saved.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.WarmupStableDecay(0.1, 10, 70, 20)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 80, 90, 100)]
    [0.0, 0.05, 0.1, 0.1, 0.05, 0.0]

    Reference:

    - [Hu et al., 2024](https://arxiv.org/abs/2404.06395)
    - [Hägele et al., 2024](https://arxiv.org/abs/2405.18392)
    """

    def __init__(
        self,
        max_lr: Real,
        warmup_steps: Integer,
        stable_steps: Integer,
        decay_steps: Integer,
        final_lr: Real = 0.0,
        decay_profile: profiles.ProfileLike = "linear",
    ) -> None:
        self.max_lr = _arguments.rate("max_lr", max_lr)
        self.warmup_steps = _arguments.length("warmup_steps", warmup_steps)
        self.stable_steps = _arguments.length("stable_steps", stable_steps)
        self.decay_steps = _arguments.length("decay_steps", decay_steps)
        self.final_lr = _arguments.rate_up_to("final_lr", final_lr, "max_lr", self.max_lr)
        self.decay_profile = decay_profile
        self._profile = profiles.get(decay_profile, "decay_profile")
        self._decay_start = self.warmup_steps + self.stable_steps
        self._decay_end = self._decay_start + self.decay_steps
        self._rise = Move(0, self.warmup_steps)
        self._fall = Move(self._decay_start, self._decay_end)

    def learning_rate(self, step: Tensor) -> Tensor:
        return either(
            before(step, self.warmup_steps),
            self._rise.done(step, whole=self.max_lr),
            self._after_warmup(step),
        )

    def _after_warmup(self, step):
        if countable(self._decay_start, step) < self._decay_start:
            return self.max_lr  # No step of its dtype comes so late.
        in_fall = at_most(at_least(step, self._decay_start), self._decay_end)
        height = self._profile.fall(self._fall, in_fall)
        return self.final_lr + (self.max_lr - self.final_lr) * height
