"""The envelope of a wave: how tall a cycle, or a step, is."""

import functools
import math

import numpy as np
from keras import ops

from keras_cyclic._arguments import choice, shown
from keras_cyclic._functions import check_saveable
from keras_cyclic.schedules.clock import float_dtype, to_float


def geometric(ratio, count, every=1):
    """`ratio ** (count / every)`, to float32 precision however large the count is.

    A power of a rounded base drifts with the count, so the logarithm is taken in float64. Base
    two makes halving exact.

    Args:
        ratio: Python float above 0.
        count: An integer tensor.
        every: Python int: how many counts make one power.
    """
    return 2.0 ** (to_float(count) * (math.log2(ratio) / every))


def constant(clock, step):
    """Every cycle as tall as the first."""
    return 1.0


def halved(clock, step):
    """Each cycle half as tall as the one before."""
    return geometric(0.5, clock.index(step))


def exponential(gamma, clock, step):
    """Shrinking by `gamma` at every step."""
    return geometric(gamma, step)


def of_cycle(scale_fn, clock, step):
    """A user's function of the cycle, counted from 1."""
    return scale_fn(to_float(clock.index(step) + 1))


def of_iterations(scale_fn, clock, step):
    """A user's function of the step."""
    return scale_fn(to_float(step))


def get(scale_fn, scale_mode):
    """The envelope for the `scale_fn` and `scale_mode` of a cyclical schedule.

    Returns:
        A function of the clock and the step, which gives the factor on the amplitude.
    """
    modes = {"cycle": of_cycle, "iterations": of_iterations}
    names = {"constant": constant, "halve": halved}
    of_mode = modes[choice("scale_mode", scale_mode, modes)]
    if isinstance(scale_fn, str):
        return names[choice("scale_fn", scale_fn, names)]
    if callable(scale_fn) and not isinstance(scale_fn, type):
        check_saveable("scale_fn", scale_fn)
        _check_scales(scale_fn)
        return functools.partial(of_mode, scale_fn)
    raise TypeError(
        "Argument `scale_fn` must be 'constant', 'halve' or a registered function. "
        f"Received: scale_fn={shown(scale_fn)} of type {type(scale_fn).__name__}"
    )


def _check_scales(scale_fn):
    try:
        scales = to_float(scale_fn(ops.convert_to_tensor([1.0, 2.0], float_dtype())))
        good = scales.shape in ((), (2,)) and np.isfinite(ops.convert_to_numpy(scales)).all()
    except Exception as error:
        raise ValueError(
            _NO_SCALE.format(shown(scale_fn), f"which raises {shown(error)}")
        ) from error
    if not good:
        raise ValueError(_NO_SCALE.format(shown(scale_fn), f"which maps [1.0, 2.0] to {scales}"))


_NO_SCALE = (
    "Argument `scale_fn` must map a float tensor to finite factors, element by element. "
    "Received: scale_fn={}, {}"
)
