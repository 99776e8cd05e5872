"""The clock of a wave: from an integer step to the cycle and the position in it.

All of it is integer arithmetic up to the last division. A step that becomes a float before its
phase is known has lost the phase: float32 counts by ones only up to 2**24.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_cyclic._arguments import MAX_STEPS, shown
from keras_cyclic.schedules._step_in_graph import read_once
from keras_cyclic.schedules.cycle_starts import EqualCycles, ListedCycles


def integer_step(step):
    """`step` as an integer tensor that holds every step the backend can count.

    Args:
        step: A Python int, a NumPy integer array or an integer tensor, of any shape.

    Returns:
        An int64 tensor on TensorFlow; int32, as `optimizer.iterations` is, on JAX and PyTorch.
    """
    if isinstance(step, (int, float, list, tuple, range, np.ndarray, np.generic)):
        return _from_numpy(step)
    step = ops.convert_to_tensor(step)
    if keras.backend.backend() == "tensorflow":
        step = read_once(step)
    dtype = keras.backend.standardize_dtype(step.dtype)
    if not dtype.startswith(("int", "uint")):
        raise TypeError(
            "Argument `step` must be an integer: a float has lost the phase of a long training. "
            f"Received: step of dtype {dtype}"
        )
    return step if dtype == _step_dtype() else ops.cast(step, _step_dtype())


def _from_numpy(step):
    array = np.asarray(step)
    if array.size == 0:
        array = array.astype("int64")
    if array.dtype.kind not in "iu":
        raise TypeError(
            "Argument `step` must be an integer or an array of integers: a float has lost the "
            f"phase of a long training. Received: step={shown(step)}"
        )
    largest = np.iinfo(_step_dtype()).max
    if array.size and (array.min() < 0 or array.max() > largest):
        raise ValueError(
            f"Argument `step` must be from 0 to {largest} on the "
            f"{keras.backend.backend()} backend. Received: step={shown(step)}"
        )
    return constant(array.astype(_step_dtype()))


def _step_dtype():
    # Keras's type promotion makes int32 of int64 on the other backends.
    return "int64" if keras.backend.backend() == "tensorflow" else "int32"


def constant(array):
    """A NumPy array as a tensor of its dtype."""
    # Keras would make float32 of any on JAX where `floatx` is bfloat16.
    return ops.convert_to_tensor(array, array.dtype.name)


def at(table, index):
    """What the last axis of a table holds at `index`.

    Args:
        table: A NumPy array.
        index: An integer tensor, never negative.
    """
    table = constant(table)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Keras's `take` has four ops more, to count negative indices from the end.
        return tf.gather(table, index, axis=-1)
    return ops.take(table, index, axis=-1)


def to_float(steps):
    """Counted steps as a float tensor: float32, or float64 where Keras's `floatx` is."""
    return ops.cast(steps, float_dtype())


def float_dtype():
    """The dtype that rates are computed in: a half-width float cannot hold a step."""
    return "float64" if keras.config.floatx() == "float64" else "float32"


def passed(boundaries, step):
    """How many of the increasing `boundaries` lie at or before `step`.

    Args:
        boundaries: A list of Python ints, in increasing order.
        step: An integer tensor.

    Returns:
        An integer tensor in the shape of `step`.
    """
    dtype = keras.backend.standardize_dtype(step.dtype)
    in_reach = [boundary for boundary in boundaries if boundary <= np.iinfo(dtype).max]
    boundaries = constant(np.array(in_reach, dtype))
    if len(step.shape) == 0:
        # A third of the graph ops of a search, at the one step that an optimizer asks for.
        return ops.sum(ops.cast(step >= boundaries, "int32"))
    # A search needs no array of steps times boundaries, but takes 1-D values only.
    found = ops.searchsorted(boundaries, ops.reshape(step, (-1,)), side="right")
    return ops.reshape(found, ops.shape(step))


def countable(steps, step):
    """`steps`, a Python int, or the highest integer in the dtype of `step` if that is less."""
    return min(steps, np.iinfo(keras.backend.standardize_dtype(step.dtype)).max)


def before(step, boundary):
    """Whether `step` comes before `boundary`, a Python int."""
    return step <= countable(boundary - 1, step)


def either(condition, rate, other):
    """`ops.where` for rates that are Python floats: Keras would give them its `floatx`."""
    rate, other = (ops.convert_to_tensor(value, float_dtype()) for value in (rate, other))
    return ops.where(condition, rate, other)


def at_most(step, highest):
    """`step`, held at `highest` once it is past it."""
    return ops.minimum(step, _constant(highest, step))


def at_least(step, lowest):
    """`step`, or `lowest` while it is not there yet."""
    return ops.maximum(step, _constant(lowest, step))


def _constant(steps, step):
    # Keras would make an int32 tensor of a Python int first, and fail above 2**31.
    dtype = keras.backend.standardize_dtype(step.dtype)
    return constant(np.array(countable(steps, step), dtype))


class Move:
    """The part of a cycle in which the rate moves from one bound to the other.

    Gives the share of the move that is done, and the share that is left. Each is rounded from
    whole numbers by itself, so that each is exact where it is small: a rise is computed from
    what is done, a fall from what is left.

    Args:
        start: The step at which the move begins: a Python number, not necessarily whole, or an
            integer tensor.
        end: The step at which it is over: likewise, or a pair of an integer tensor and a float
            tensor to add to it.
    """

    def __init__(self, start, end):
        self.start = start
        self.end = end

    def done(self, step, whole=1.0):
        """The share of `whole` that is done at `step`: 0 at the start, `whole` at the end."""
        return self._share(_difference(step, self.start, step), step, whole)

    def left(self, step, whole=1.0):
        """The share of `whole` that is left at `step`: `whole` at the start, 0 at the end."""
        return self._share(_difference(self.end, step, step), step, whole)

    def _share(self, steps, step, whole):
        if isinstance(self.end, (int, float)):
            span = float(self.end - self.start) or 1.0
            return steps / span if whole == 1.0 else steps * (whole / span)
        return steps / _difference(self.end, self.start, step)


def _difference(late, early, step):
    """`late - early` in floats, subtracting the whole numbers first."""
    whole_late, part_late = _split(late, step)
    whole_early, part_early = _split(early, step)
    starts_at_zero = isinstance(whole_early, int) and whole_early == 0
    difference = to_float(whole_late if starts_at_zero else whole_late - whole_early)
    part = part_late - part_early
    return difference if isinstance(part, float) and part == 0 else difference + part


def _split(number, step):
    """A whole number that the dtype of `step` can hold, and what must be added to it in floats."""
    if isinstance(number, tuple):
        return number
    if isinstance(number, (int, float)):
        whole = countable(math.floor(number), step)
        return whole, float(number - whole)
    return number, 0.0


class Cycles:
    """Cycles that all have one length.

    Args:
        length: Python int, in steps.
    """

    def __init__(self, length):
        self.length = length

    def index(self, step):
        """The cycle that `step` is in, counted from 0."""
        return step // self.length if self._ends(step) else step * 0

    def offset(self, step):
        """The steps since the cycle began."""
        return step % self.length if self._ends(step) else step

    def move(self, step, index):
        """The move that takes up the whole of a cycle, and the step in it, for cycle `index`."""
        return Move(0, self.length), self.offset(step)

    def starts(self):
        """When the cycles begin; see `cycle_starts.py`."""
        return EqualCycles(self.length)

    def _ends(self, step):
        return countable(self.length, step) == self.length


class GrowingCycles:
    """Cycles of which each is a factor longer than the last.

    The lengths are `first * growth ** n`, carried on with 128 binary places and each rounded to
    the nearest whole number (a half up), for all cycles that begin within 2**53 steps.

    Args:
        first: Python int: the length of the first cycle, in steps.
        growth: Python float above 1.
    """

    def __init__(self, first, growth):
        self.lengths = _growing_lengths(first, growth)
        self.restarts = [0]
        for length in self.lengths:
            self.restarts.append(self.restarts[-1] + length)

    def index(self, step):
        """The cycle that `step` is in, counted from 0."""
        return passed(self.restarts[1:-1], step)

    def move(self, step, index):
        """The move that takes up the whole of a cycle, and the step in it, for cycle `index`."""
        within = [countable(restart, step) for restart in self.restarts]
        beyond = [restart - reached for restart, reached in zip(self.restarts, within)][1:]
        within = np.array([within[:-1], within[1:]], keras.backend.standardize_dtype(step.dtype))
        start, end = ops.unstack(at(within, index), 2)
        if any(beyond):
            end = (end, at(np.array(beyond, float_dtype()), index))
        return Move(start, end), step

    def starts(self):
        """When the cycles begin; see `cycle_starts.py`."""
        return ListedCycles(tuple(self.restarts[:-1]))


# Every evaluation compares the step with all restarts, so there must be an end to them.
_MAX_CYCLES = 2**13


def _growing_lengths(first, growth):
    numerator, denominator = growth.as_integer_ratio()
    bits = 128
    length = first << bits
    lengths = []
    reached = 0
    while reached <= MAX_STEPS:
        if len(lengths) == _MAX_CYCLES:
            raise ValueError(
                "Argument `t_mul` must be 1 or so large that 2**53 steps hold at most "
                f"{_MAX_CYCLES} restarts. Received: t_mul={growth!r}"
            )
        # What is left of the last cycle must fit a float32.
        lengths.append(min((length + (1 << bits - 1)) >> bits, 2**100))
        reached += lengths[-1]
        length = length * numerator // denominator
    return lengths
