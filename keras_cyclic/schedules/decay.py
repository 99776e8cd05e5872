"""One fall along a profile, then held."""

import keras

from keras_cyclic import _arguments, profiles
from keras_cyclic._types import Integer, Real, Tensor
from keras_cyclic.schedules.clock import Move, at_most
from keras_cyclic.schedules.wave import Wave


@keras.saving.register_keras_serializable(package="keras_cyclic")
class Decay(Wave):
    """A fall from one learning rate to another along any profile, then held.

    ```
    rate = final_lr + (initial_lr - final_lr) * (1 - p(min(t, decay_steps) / decay_steps))
    ```

    with the profile `p`.

    Args:
        initial_lr: The learning rate at step 0.
        final_lr: The learning rate from step `decay_steps` on.
        decay_steps: The length of the fall in steps.
        profile: The shape of the fall: `"linear"`, `"cosine"`, `"exponential"`, `"rex"`,
            `"polynomial"`, a profile, or a registered function (see
            `keras_cyclic.profiles.get`). Defaults to `"linear"`.

    Raises:
        ValueError: If a rate is negative or not finite, `final_lr` is above `initial_lr` (to
            climb, use `Warmup`), `decay_steps` is not a positive whole number, or the profile
            is unknown or could not be saved.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.Decay(0.1, 0.0, decay_steps=100, profile="exponential")
    >>> [round(float(schedule(step)), 4) for step in (0, 50, 100, 150)]
    [0.1, 0.0119, 0.0, 0.0]
    """

    def __init__(
        self,
        initial_lr: Real,
        final_lr: Real,
        decay_steps: Integer,
        profile: profiles.ProfileLike = "linear",
    ) -> None:
        self.initial_lr = _arguments.rate("initial_lr", initial_lr)
        self.final_lr = _arguments.rate_up_to("final_lr", final_lr, "initial_lr", self.initial_lr)
        self.decay_steps = _arguments.length("decay_steps", decay_steps)
        self.profile = profile
        self._profile = profiles.get(profile)
        self._move = Move(0, self.decay_steps)

    @property
    def bounds(self) -> tuple[float, float]:
        return self.final_lr, self.initial_lr

    def height(self, step: Tensor) -> Tensor:
        return self._profile.fall(self._move, at_most(step, self.decay_steps))


@keras.saving.register_keras_serializable(package="keras_cyclic")
class LinearDecay(Decay):
    """A straight fall, then held.

    ```
    rate = initial_lr + (final_lr - initial_lr) * min(t, decay_steps) / decay_steps
    ```

    Args:
        initial_lr: The learning rate at step 0.
        decay_steps: The length of the fall in steps.
        final_lr: The learning rate from step `decay_steps` on. Defaults to `0.0`.

    Raises:
        ValueError: If a rate is negative or not finite, `final_lr` is above `initial_lr`, or
            `decay_steps` is not a positive whole number.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.LinearDecay(0.1, decay_steps=100)
    >>> round(float(schedule(25)), 4)
    0.075
    """

    def __init__(self, initial_lr: Real, decay_steps: Integer, final_lr: Real = 0.0) -> None:
        super().__init__(initial_lr, final_lr, decay_steps, profile="linear")


@keras.saving.register_keras_serializable(package="keras_cyclic")
class CosineAnnealing(Decay):
    """A fall along half a cosine wave, then held.

    ```
    rate = final_lr + (initial_lr - final_lr) * (1 + cos(pi min(t, decay_steps) / decay_steps)) / 2
    ```

    Args:
        initial_lr: The learning rate at step 0.
        decay_steps: The length of the fall in steps.
        final_lr: The learning rate from step `decay_steps` on. Defaults to `0.0`.

    Raises:
        ValueError: If a rate is negative or not finite, `final_lr` is above `initial_lr`, or
            `decay_steps` is not a positive whole number.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.CosineAnnealing(0.1, decay_steps=100)
    >>> round(float(schedule(50)), 4)
    0.05

    Reference:

    - [Loshchilov and Hutter, 2017](https://arxiv.org/abs/1608.03983)
    """

    def __init__(self, initial_lr: Real, decay_steps: Integer, final_lr: Real = 0.0) -> None:
        super().__init__(initial_lr, final_lr, decay_steps, profile="cosine")


@keras.saving.register_keras_serializable(package="keras_cyclic")
class PolynomialDecay(Decay):
    """A fall with a power of the steps that are left, then held.

    ```
    rate = final_lr + (initial_lr - final_lr) * (1 - min(t, decay_steps) / decay_steps) ** power
    ```

    Args:
        initial_lr: The learning rate at step 0.
        decay_steps: The length of the fall in steps.
        final_lr: The learning rate from step `decay_steps` on. Defaults to `0.0`.
        power: The power, above 0. Defaults to `2.0`.

    Raises:
        ValueError: If a rate is negative or not finite, `final_lr` is above `initial_lr`,
            `decay_steps` is not a positive whole number, or `power` is not above 0.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.PolynomialDecay(0.1, decay_steps=100, power=2.0)
    >>> round(float(schedule(50)), 4)
    0.025
    """

    def __init__(
        self, initial_lr: Real, decay_steps: Integer, final_lr: Real = 0.0, power: Real = 2.0
    ) -> None:
        polynomial = profiles.Polynomial(power)
        super().__init__(initial_lr, final_lr, decay_steps, profile=polynomial)
        self.power = polynomial.power


@keras.saving.register_keras_serializable(package="keras_cyclic")
class REX(Decay):
    """The reflected exponential: a high rate for long, then a fast fall, then held.

    ```
    w    = 1 - min(t, decay_steps) / decay_steps
    rate = final_lr + (initial_lr - final_lr) * w / (beta + (1 - beta) * w)
    ```

    Args:
        initial_lr: The learning rate at step 0.
        decay_steps: The length of the fall in steps: the whole training's, since the last steps
            are where it falls.
        final_lr: The learning rate from step `decay_steps` on. Defaults to `0.0`.
        beta: How hard it turns the corner, above 0 and at most 1, which makes it linear.
            Defaults to `0.5`, the paper's.

    Raises:
        ValueError: If a rate is negative or not finite, `final_lr` is above `initial_lr`,
            `decay_steps` is not a positive whole number, or `beta` is not above 0 and at most 1.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras_cyclic as kc
    >>> schedule = kc.schedules.REX(0.1, decay_steps=100)
    >>> [round(float(schedule(step)), 4) for step in (0, 50, 90, 100)]
    [0.1, 0.0667, 0.0182, 0.0]

    Reference:

    - [Chen, Wolfe and Kyrillidis, 2022](https://arxiv.org/abs/2107.04197)
    """

    def __init__(
        self, initial_lr: Real, decay_steps: Integer, final_lr: Real = 0.0, beta: Real = 0.5
    ) -> None:
        rex = profiles.REX(beta)
        super().__init__(initial_lr, final_lr, decay_steps, profile=rex)
        self.beta = rex.beta
