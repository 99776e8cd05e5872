"""Profiles: how much of the way is done, as a function of the time gone.

Every move between two rates is `start + (end - start) * profile(z)`, where the progress `z`
goes from 0 to 1. A climb and a fall share one profile.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import keras
from keras import ops

from keras_cyclic import _arguments
from keras_cyclic._config import Configurable
from keras_cyclic._functions import check_saveable
from keras_cyclic._types import Real, Tensor

_PACKAGE = "keras_cyclic.profiles"


class Profile(Configurable):
    """Base class of the profiles.

    A subclass implements `__call__(z)`, elementwise, with `profile(0) = 0` and `profile(1) = 1`.

    A fall is computed from the share of it that is still ahead, `w = 1 - z`, because a clock
    knows `w` from whole numbers: `1 - z` in float32 has lost its last digits where a rate comes
    down to nothing. A subclass that has a closed form for `remaining` gives it there.
    """

    def __call__(self, z: Tensor) -> Tensor:
        """How much of the way is done.

        Args:
            z: The progress, from 0 to 1: a float or a float tensor of any shape.

        Returns:
            The share of the way that is done, in the shape of `z`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `__call__(self, z)`.")

    def remaining(self, w: Tensor) -> Tensor:
        """How much of the way is left when the share `w` of the time is: `1 - profile(1 - w)`."""
        return 1.0 - self(1.0 - w)

    def within(self, share: Tensor) -> Tensor:
        """`share`, kept from going beyond 1.

        A schedule computes its rises and falls at all steps and then chooses between them. What
        it drops must be finite all the same, or a search for NaN ends there.
        """
        return ops.minimum(share, 1.0)

    def rise(self, move: Any, step: Tensor, whole: float = 1.0) -> Tensor:
        """The height at `step` of a move from 0 up to `whole`."""
        return _times(self(self.within(move.done(step))), whole)

    def fall(self, move: Any, step: Tensor) -> Tensor:
        """The height at `step` of a move from 1 down to 0."""
        return self.remaining(self.within(move.left(step)))


class SymmetricProfile(Profile):
    """A profile that looks the same from its end: `profile(1 - z) = 1 - profile(z)`."""

    def remaining(self, w: Tensor) -> Tensor:
        return self(w)

    def within(self, share: Tensor) -> Tensor:
        return share  # Linear and cosine are finite everywhere.


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Linear(SymmetricProfile):
    """The straight line.

    ```
    p(z) = z
    ```

    Example:

    >>> import keras_cyclic as kc
    >>> kc.profiles.Linear()(0.25)
    0.25

    Reference:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    """

    def __call__(self, z: Tensor) -> Tensor:
        return z

    def rise(self, move: Any, step: Tensor, whole: float = 1.0) -> Tensor:
        return move.done(step, whole)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Cosine(SymmetricProfile):
    """Half a cosine wave: slow at both ends.

    ```
    p(z) = (1 - cos(pi z)) / 2
    ```

    Example:

    >>> import keras_cyclic as kc
    >>> round(float(kc.profiles.Cosine()(0.5)), 6)
    0.5

    Reference:

    - [Loshchilov and Hutter, 2017](https://arxiv.org/abs/1608.03983)
    """

    def __call__(self, z: Tensor) -> Tensor:
        # The same as (1 - cos(pi z)) / 2, but without the difference that cancels for small z.
        return ops.square(ops.sin(z * (math.pi / 2)))


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Exponential(Profile):
    """Exponential approach: the steeper, the further away.

    ```
    p(z) = (1 - exp(-rate z)) / (1 - exp(-rate))    normalize=True
    p(z) =  1 - exp(-rate z)                        normalize=False
    ```

    Args:
        rate: A float from 1e-6 to 80: how many times the distance shrinks by `e` over the move.
            Defaults to `4.0`.
        normalize: A boolean. With `False` the move ends at `1 - exp(-rate)` of the way, as a
            plain exponential decay does, and not at its end. Defaults to `True`.

    Raises:
        ValueError: If `rate` is not from 1e-6 to 80.
        TypeError: If `rate` is not a number or `normalize` is not a boolean.

    Example:

    >>> import keras_cyclic as kc
    >>> profile = kc.profiles.Exponential(rate=4.0)
    >>> [round(float(profile(z)), 4) for z in (0.25, 0.5, 1.0)]
    [0.6439, 0.8808, 1.0]

    Reference:

    - [Chen, Wolfe and Kyrillidis, 2022](https://arxiv.org/abs/2107.04197)
    """

    def __init__(self, rate: Real = 4.0, normalize: bool = True) -> None:
        # Beyond, exp(rate) or the difference of exp(-rate) from 1 does not fit a float32.
        self.rate = _arguments.between("rate", rate, 1e-6, 80.0)
        self.normalize = _arguments.boolean("normalize", normalize)

    def __call__(self, z: Tensor) -> Tensor:
        return ops.expm1(z * -self.rate) / (math.expm1(-self.rate) if self.normalize else -1.0)

    def remaining(self, w: Tensor) -> Tensor:
        if self.normalize and self.rate <= _STEEP:
            return ops.expm1(w * self.rate) / math.expm1(self.rate)
        # `w * rate` would lose the last digits of a large exponent.
        return self._beyond_end(ops.exp((w - 1.0) * self.rate))

    def fall(self, move: Any, step: Tensor) -> Tensor:
        if self.rate <= _STEEP:
            return super().fall(move, step)
        # Steep at the start, where only what is done is known well enough.
        return self._beyond_end(ops.exp(ops.maximum(move.done(step), 0.0) * -self.rate))

    def _beyond_end(self, left):
        """Of what a plain exponential has left, the share that is above what it ends at."""
        if not self.normalize:
            return left
        return ops.maximum(left - math.exp(-self.rate), 0.0) / -math.expm1(-self.rate)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class REX(Profile):
    """Reflected exponential: holds the rate up for long, then falls fast.

    ```
    1 - p(z) = (1 - z) / (beta + (1 - beta) (1 - z))
    ```

    Args:
        beta: A float from 1e-6 to 1, which makes it linear. The paper's is the default, `0.5`;
            `0.1` turns the corner harder.

    Raises:
        ValueError: If `beta` is not from 1e-6 to 1.
        TypeError: If `beta` is not a number.

    Example:

    >>> import keras_cyclic as kc
    >>> round(float(kc.profiles.REX()(0.5)), 4)
    0.3333

    Reference:

    - [Chen, Wolfe and Kyrillidis, 2022](https://arxiv.org/abs/2107.04197)
    """

    def __init__(self, beta: Real = 0.5) -> None:
        self.beta = _arguments.between("beta", beta, 1e-6, 1.0)

    def __call__(self, z: Tensor) -> Tensor:
        # A compiled division may round 1 up, and the denominator has its zero beyond.
        return 1.0 - self.remaining(ops.maximum(1.0 - z, 0.0))

    def remaining(self, w: Tensor) -> Tensor:
        return w / (self.beta + (1.0 - self.beta) * w)

    def within(self, share: Tensor) -> Tensor:
        return share  # Finite for all that is above 0.

    def rise(self, move: Any, step: Tensor, whole: float = 1.0) -> Tensor:
        # Steep at the top, where only what is left is known well enough.
        return _times(1.0 - self.remaining(ops.maximum(move.left(step), 0.0)), whole)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Polynomial(Profile):
    """What is left falls with a power of the time left.

    ```
    1 - p(z) = (1 - z) ** power
    ```

    Args:
        power: A float from 1e-3 to 1e3. Defaults to `2.0`; `1.0` is linear, `0.5` the square
            root.

    Raises:
        ValueError: If `power` is not from 1e-3 to 1e3.
        TypeError: If `power` is not a number.

    Example:

    >>> import keras_cyclic as kc
    >>> float(kc.profiles.Polynomial(power=2.0)(0.5))
    0.75
    """

    def __init__(self, power: Real = 2.0) -> None:
        self.power = _arguments.between("power", power, 1e-3, 1e3)

    def __call__(self, z: Tensor) -> Tensor:
        # A compiled division may round 1 up, and a negative number has no fractional power.
        return 1.0 - self.remaining(ops.maximum(1.0 - z, 0.0))

    def remaining(self, w: Tensor) -> Tensor:
        return ops.power(w, self.power)

    def rise(self, move: Any, step: Tensor, whole: float = 1.0) -> Tensor:
        if self.power < 1:
            # Steep at the top, where only what is left is known well enough.
            return _times(1.0 - self.remaining(ops.maximum(move.left(step), 0.0)), whole)
        return _times(-ops.expm1(self._log_of_left(move, step)), whole)

    def fall(self, move: Any, step: Tensor) -> Tensor:
        if self.power <= _STEEP:
            return super().fall(move, step)
        # Steep at the start, where only what is done is known well enough.
        return ops.exp(self._log_of_left(move, step))

    def _log_of_left(self, move, step):
        # The last float32 below 1 stands for 1, whose logarithm here would be infinite.
        done = ops.minimum(ops.maximum(move.done(step), 0.0), 1.0 - 2.0**-24)
        return self.power * ops.log1p(-done)


# The slope at the start from which a fall is computed from what is done, not from what is left.
_STEEP = 4.0


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FunctionProfile(Profile):
    """A user's registered function as a profile."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        _check_function(function, "function")
        self.function = function

    def __call__(self, z: Tensor) -> Tensor:
        return self.function(z)


ProfileLike: TypeAlias = (
    Literal["linear", "cosine", "exponential", "rex", "polynomial"]
    | Profile
    | Callable[[Tensor], Tensor]
)

_NAMED: dict[str, type[Profile]] = {
    "linear": Linear,
    "cosine": Cosine,
    "exponential": Exponential,
    "rex": REX,
    "polynomial": Polynomial,
}


def get(identifier: ProfileLike, argument: str = "profile") -> Profile:
    """The profile that a name, a function or a profile stands for.

    Args:
        identifier: One of `"linear"`, `"cosine"`, `"exponential"`, `"rex"` and `"polynomial"`;
            or a profile; or a function that maps a float tensor of progress in [0, 1] to the
            share of the way that is done, written in `keras.ops` and registered with
            `keras.saving.register_keras_serializable`.
        argument: The name of the argument that it came in, for the error texts.

    Returns:
        A profile: a callable.

    Raises:
        ValueError: If the name is unknown, if Keras could not save the function, or if the
            function does not map 0 to 0 and 1 to 1.
        TypeError: If it is none of these.

    Example:

    >>> import keras_cyclic as kc
    >>> kc.profiles.get("rex")
    REX()
    """
    if isinstance(identifier, Profile):
        if type(identifier) not in _NAMED.values():
            check_saveable(argument, identifier)
        return identifier
    if isinstance(identifier, str):
        if identifier not in _NAMED:
            raise ValueError(
                f"Argument `{argument}` must be one of {', '.join(map(repr, _NAMED))}, a profile "
                f"or a registered function. Received: {argument}={_arguments.shown(identifier)}"
            )
        return _NAMED[identifier]()
    if _is_function(identifier):
        _check_function(identifier, argument)
        return FunctionProfile(identifier)
    raise TypeError(
        f"Argument `{argument}` must be one of {', '.join(map(repr, _NAMED))}, a profile or a "
        f"registered function. Received: {argument}={_arguments.shown(identifier)} of type "
        f"{type(identifier).__name__}"
    )


def _times(height, whole):
    # An optimizer with weight decay evaluates the rate once a variable: no idle graph op.
    return height if whole == 1.0 else height * whole


def _is_function(value):
    return callable(value) and not isinstance(value, type)


def _check_function(function, argument):
    if not _is_function(function):
        raise TypeError(
            f"Argument `{argument}` must be a registered function. "
            f"Received: {argument}={_arguments.shown(function)} of type {type(function).__name__}"
        )
    check_saveable(argument, function)
    _check_ends(function, argument)


def _check_ends(function, argument):
    try:
        ends = ops.convert_to_numpy(function(ops.convert_to_tensor([0.0, 1.0], "float32")))
    except Exception as error:
        raise ValueError(
            f"Argument `{argument}` must be a function of one float tensor. "
            f"Received: {argument}={_arguments.shown(function)}, which raises "
            f"{_arguments.shown(error)}"
        ) from error
    if ends.shape != (2,) or not (abs(ends[0]) < 1e-3 and abs(ends[1] - 1) < 1e-3):
        raise ValueError(
            f"Argument `{argument}` must map progress 0 to 0 and progress 1 to 1, element by "
            f"element. Received: {argument}={_arguments.shown(function)}, which maps [0.0, 1.0] to "
            f"{ends.tolist()}"
        )
