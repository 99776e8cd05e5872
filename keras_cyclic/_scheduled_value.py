"""What an optimizer's update finds in place of a float while a schedule drives it."""

import dataclasses
import operator
from collections.abc import Callable

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """What a value stands for.

    Args:
        label: What to call it in an error, "`momentum` of SGD".
        use: Called when the value goes into a computation.
        dtype: Gives the dtype that the value takes where nothing else decides on one: that of
            the weights, since optimizers compute in it.
    """

    label: str
    use: Callable[[], None]
    dtype: Callable[[], str]


class ScheduledValue:
    """A scheduled hyperparameter inside an update: a tensor to arithmetic, a number to `if`.

    It takes part in arithmetic as a Python float does: with a number it stays weakly typed, with
    a tensor it takes the tensor's dtype. It is no `float`: whatever would read a plain number
    from it, and so freeze it into the compiled step, fails.

    Args:
        hyperparameter: A `Hyperparameter`.
        tensor: Its value, a scalar float tensor.
        plain: The float that the optimizer was built with. Optimizers ask whether it is 0 in
            order to know which slots they have, and that must not change from step to step.
    """

    # NumPy's numbers would otherwise try to combine with it as an array.
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, hyperparameter, tensor, plain):
        self._hyperparameter = hyperparameter
        self._tensor = tensor
        self._plain = plain

    def as_tensor(self, dtype=None):
        """The value as a tensor; asking for it counts as using it."""
        self._hyperparameter.use()
        return ops.cast(self._tensor, dtype or self._hyperparameter.dtype())

    def __tf_tensor__(self, dtype=None, name=None):
        return self.as_tensor(dtype and _dtype_name(dtype))

    def __jax_array__(self):
        return self.as_tensor()

    def __float__(self):
        try:
            return float(ops.convert_to_numpy(self.as_tensor()))
        except Exception as error:
            raise TypeError(
                f"The scheduled {self._hyperparameter.label} has no Python number inside the "
                "compiled step. An optimizer that needs one there cannot have it scheduled."
            ) from error

    def __bool__(self):
        return self._plain != 0

    def __neg__(self):
        return ScheduledValue(self._hyperparameter, -self._tensor, -self._plain)

    def __repr__(self):
        return f"<scheduled {self._hyperparameter.label}>"


def _dtype_name(dtype):
    return keras.backend.standardize_dtype(dtype)


def _arithmetic(operation):
    def forward(self, other):
        return _combine(self, operation, self, other)

    def backward(self, other):
        return _combine(self, operation, other, self)

    return forward, backward


def _combine(scheduled, operation, left, right):
    other = right if left is scheduled else left
    if isinstance(other, (int, float)):
        tensors = (x._tensor if x is scheduled else x for x in (left, right))
        numbers = (np.float64(x._plain if x is scheduled else x) for x in (left, right))
        with np.errstate(all="ignore"):
            plain = float(operation(*numbers))
        return ScheduledValue(scheduled._hyperparameter, operation(*tensors), plain)
    if isinstance(other, ScheduledValue):
        return operation(left.as_tensor(), right.as_tensor())
    other = ops.convert_to_tensor(other)
    dtype = _dtype_name(other.dtype)
    tensor = scheduled.as_tensor(dtype if "float" in dtype else None)
    return operation(tensor, other) if left is scheduled else operation(other, tensor)


for _name in ("add", "sub", "mul", "truediv", "pow"):
    _forward, _backward = _arithmetic(getattr(operator, _name))
    setattr(ScheduledValue, f"__{_name}__", _forward)
    setattr(ScheduledValue, f"__r{_name}__", _backward)


def _comparison(operation):
    def compare(self, other):
        if isinstance(other, (int, float)) and other == 0:
            return operation(self._plain, 0)
        raise TypeError(
            f"The scheduled {self._hyperparameter.label} cannot be compared with {other!r} in "
            "Python: the compiled step would keep the answer for ever. Only a comparison with 0 "
            "is possible, which the value that the optimizer was built with decides."
        )

    return compare


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ScheduledValue, f"__{_name}__", _comparison(getattr(operator, _name)))
