"""Checks of constructor arguments, and the error texts that they make."""

import itertools
import numbers
from collections.abc import Iterable
from typing import TypeVar

import numpy as np

_String = TypeVar("_String", bound=str)

# Steps are compared and subtracted as int64; beyond 2**53 a float64, and so
# every tool around Keras that logs or stores a step, no longer counts by ones.
MAX_STEPS = 2**53

# The largest number of a float32, with room for what is rounded up on the way to a rate.
LARGEST = float(np.finfo("float32").max) * (1 - 2**-20)


def shown(value):
    """`value` as an error text shows it: its `repr`, cut short, of whatever it is."""
    try:
        text = repr(value)
    except Exception as error:
        # A number of more than 4,300 digits has none, nor has many a broken object.
        text = f"<without a repr: {type(error).__name__}>"
    return text if len(text) <= 1000 else f"{text[:1000]}... ({len(text):,} characters)"


def _received(name, value):
    return f"Received: {name}={shown(value)}"


def _plain(number):
    """A number that can be compared with those that its NumPy type cannot hold, without a warning.

    A `float16` would make infinity of them.
    """
    return number.item() if isinstance(number, np.generic) else number


def _is_boolean(value):
    return isinstance(value, (bool, np.bool_))


def _is_real(value):
    return isinstance(value, numbers.Real)


def real(name, value, allowed="a finite number") -> float:
    """`value` as a finite Python float that float32 can hold."""
    if _is_boolean(value) or not _is_real(value):
        raise TypeError(
            f"Argument `{name}` must be {allowed}, as a Python or NumPy number. "
            f"{_received(name, value)} of type {type(value).__name__}"
        )
    if not abs(_plain(value)) <= LARGEST:
        raise ValueError(f"Argument `{name}` must be {allowed}. {_received(name, value)}")
    return float(value)


def _real_if(name, value, allowed, holds) -> float:
    """`value` as a Python float for which `holds` is true; `allowed` says so in words."""
    value = real(name, value, allowed)
    if not holds(value):
        raise ValueError(f"Argument `{name}` must be {allowed}. {_received(name, value)}")
    return value


def rate(name, value) -> float:
    """A learning rate: a finite number, 0 or more."""
    return _real_if(name, value, "a finite learning rate of 0 or more", lambda x: x >= 0)


def rate_up_to(name, value, limit_name, limit) -> float:
    """A learning rate that is not above `limit`, an argument checked before."""
    value = rate(name, value)
    if value > limit:
        raise ValueError(
            f"Argument `{name}` must not be above `{limit_name}`. "
            f"{_received(name, value)}, {limit_name}={limit!r}"
        )
    return value


def not_negative(name, value) -> float:
    """A finite number of 0 or more."""
    return _real_if(name, value, "a finite number of 0 or more", lambda x: x >= 0)


def count(name, value) -> int:
    """A whole number of 0 or more, up to the largest int64, as a Python int."""
    allowed = "a whole number of 0 or more"
    error = f"Argument `{name}` must be {allowed}. {_received(name, value)}"
    if _is_boolean(value) or not _is_real(value):
        raise TypeError(f"{error} of type {type(value).__name__}")
    value = _plain(value)
    if not (0 <= value < 2**63 and value == int(value)):
        raise ValueError(error)
    return int(value)


def positive(name, value) -> float:
    """A finite number above 0."""
    return _real_if(name, value, "a finite number above 0", lambda x: x > 0)


def between(name, value, low, high) -> float:
    """A number within bounds, both of which it may be."""
    return _real_if(
        name, value, f"a number from {low:g} to {high:g}", lambda value: low <= value <= high
    )


def at_least_one(name, value) -> float:
    """A finite number, 1 or more."""
    return _real_if(name, value, "a finite number of 1 or more", lambda x: x >= 1)


def decay_factor(name, value) -> float:
    """A factor that does not grow: above 0 and at most 1."""
    allowed = "a factor above 0 and at most 1"
    value = real(name, value, allowed)
    if not 0 < value <= 1:
        raise ValueError(
            f"Argument `{name}` must be {allowed}: anything larger grows without bound. "
            f"{_received(name, value)}"
        )
    return value


def fraction(name, value) -> float:
    """A share strictly between 0 and 1."""
    return _real_if(
        name, value, "a share between 0 and 1, both excluded", lambda value: 0 < value < 1
    )


def momenta(base_momentum, max_momentum) -> tuple[float, float]:
    """The momenta to cycle between, as a pair of Python floats."""
    low = _momentum("base_momentum", base_momentum)
    high = _momentum("max_momentum", max_momentum)
    if low > high:
        raise ValueError(
            "Argument `base_momentum` must not be above `max_momentum`. Received: "
            f"base_momentum={base_momentum!r}, max_momentum={max_momentum!r}"
        )
    return low, high


def _momentum(name, value) -> float:
    return _real_if(
        name, value, "a momentum of 0 or more and below 1", lambda value: 0 <= value < 1
    )


def length(name, value, allowed="a positive whole number of optimizer steps") -> int:
    """A length in optimizer steps, or a count of what `allowed` says, as an int of 1 or more."""
    error = f"Argument `{name}` must be {allowed}. {_received(name, value)}"
    if _is_boolean(value):
        raise ValueError(error)
    if not _is_real(value):
        raise TypeError(f"{error} of type {type(value).__name__}")
    value = _plain(value)
    if value > MAX_STEPS:
        raise ValueError(f"{error}. Lengths go up to 2**53 steps")
    if not value >= 1 or value != int(value):
        raise ValueError(error)
    return int(value)


def increasing_lengths(name, values) -> list[int]:
    """Steps that increase strictly, as a list of Python ints."""
    is_array = isinstance(values, np.ndarray) and values.ndim > 0
    if not is_array and not isinstance(values, (list, tuple)):
        raise TypeError(
            f"Argument `{name}` must be a list of steps. "
            f"{_received(name, values)} of type {type(values).__name__}"
        )
    steps = [length(f"{name}[{i}]", value) for i, value in enumerate(values)]
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        raise ValueError(
            f"Argument `{name}` must be steps in strictly increasing order. "
            f"{_received(name, values)}"
        )
    return steps


def floats(name, values) -> np.ndarray:
    """Numbers, finite or not, as a new array of float64."""
    try:
        return np.array(values, "float64")
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"Argument `{name}` must be a list of numbers. {_received(name, values)}"
        ) from error


def boolean(name, value) -> bool:
    """True or False."""
    if not _is_boolean(value):
        raise TypeError(
            f"Argument `{name}` must be True or False. "
            f"{_received(name, value)} of type {type(value).__name__}"
        )
    return bool(value)


def choice(name: str, value: _String, allowed: Iterable[str]) -> _String:
    """One of a few strings."""
    if not isinstance(value, str):
        raise TypeError(
            f"Argument `{name}` must be a string. "
            f"{_received(name, value)} of type {type(value).__name__}"
        )
    if value not in list(allowed):
        raise ValueError(
            f"Argument `{name}` must be one of {', '.join(map(repr, allowed))}. "
            f"{_received(name, value)}"
        )
    return value
