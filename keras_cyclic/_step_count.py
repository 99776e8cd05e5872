"""How many optimizer steps a `fit` will take, before it takes them."""

import math
import time
import types
import warnings

import keras
from keras.src.trainers.data_adapters import get_data_adapter

from keras_cyclic import _arguments

_SECONDS_TO_COUNT_IN_SILENCE = 10.0
_BATCHES = "a positive whole number of batches"
_SAMPLES = "a positive whole number of samples"


class StepCount:
    """The steps of some epochs of `fit`, as Keras's own loop goes through the data.

    Args:
        model: A compiled model.
        x: The inputs, anything that `fit` takes.
        y: The targets, as in `fit`. Defaults to `None`.
        sample_weight: As in `fit`. Defaults to `None`.
        batch_size: As in `fit`. Defaults to `None`.
        steps_per_epoch: As in `fit`. Defaults to `None`.

    Raises:
        ValueError: If the data is empty, or endless without `steps_per_epoch`, or if Keras
            would not take it.
        TypeError: If a number is of the wrong type.

    Attributes:
        x: The inputs to give to `fit` for these steps.
        batch_size: The samples in a batch where Keras makes the batches, else what the data says
            of it.
    """

    def __init__(self, model, x, y=None, sample_weight=None, batch_size=None, steps_per_epoch=None):
        if x is None:
            raise ValueError("Argument `x` must be the inputs to train on. Received: x=None")
        if batch_size is not None:
            batch_size = _arguments.length("batch_size", batch_size, _SAMPLES)
        if steps_per_epoch is not None:
            steps_per_epoch = _arguments.length("steps_per_epoch", steps_per_epoch, _BATCHES)
        limit = keras.config.max_steps_per_epoch()
        self._steps_per_epoch = min(filter(None, (steps_per_epoch, limit)), default=None)
        self._steps_per_execution = model.steps_per_execution
        self.batch_size = None
        self._batches = None
        # Keras's adapter would take the first batches out of a generator.
        if not isinstance(x, types.GeneratorType):
            adapter = get_data_adapter(
                x, y, sample_weight, batch_size=batch_size, steps_per_epoch=self._steps_per_epoch
            )
            self.batch_size = adapter.batch_size
            self._batches = adapter.num_batches
        if self._batches is None and self._steps_per_epoch is None:
            _refuse_endless(x)
            self._batches = _counted(x)
            if self._batches and hasattr(x, "element_spec") and hasattr(x, "repeat"):
                x = _of_length(x, self._batches)
        if self._batches == 0:
            raise ValueError(
                "Argument `x` must hold at least one batch to train on. Received: "
                f"x of type {type(x).__name__} with 0 batches"
            )
        self.x = x

    def in_epochs(self, epochs):
        """The steps of the first `epochs` epochs.

        Args:
            epochs: A Python int.
        """
        if self._steps_per_epoch is None:
            return epochs * self._batches
        per_call = self._steps_per_execution
        calls = math.ceil(self._steps_per_epoch / per_call)
        if self._batches is None:
            # The last call of an epoch does not stop in its middle.
            return epochs * calls * per_call
        # One epoch goes on where the last one stopped, but stops itself where the data ends.
        steps = seen = 0
        for _ in range(epochs):
            left = self._batches - seen
            calls_here = min(calls, math.ceil(left / per_call))
            steps += min(calls_here * per_call, left)
            seen += calls_here * per_call
            if seen >= self._batches:
                seen = 0
        return steps


def _refuse_endless(x):
    if isinstance(x, types.GeneratorType):
        reason = "a generator does not say how many batches it gives"
    elif isinstance(x, keras.utils.PyDataset) or _is_infinite(x):
        reason = "the data has no end"
    elif any(map(_is_infinite, _inputs(x))):
        reason = "the dataset is made from one that has no end"
    elif not hasattr(x, "__iter__"):
        reason = "the data does not say how many batches it has"
    else:
        return
    raise ValueError(
        f"Argument `steps_per_epoch` must be given, {_BATCHES}: {reason}, and the cycle must know "
        f"where it ends. Received: steps_per_epoch=None, x of type {type(x).__name__}"
    )


def _is_infinite(x):
    # A method of a `tf.data.Dataset`, a number of a distributed one.
    cardinality = getattr(x, "cardinality", 0)
    return int(cardinality() if callable(cardinality) else cardinality) == -1


def _inputs(x):
    """The datasets that a `tf.data.Dataset` is made from, however far back."""
    for each in x._inputs() if hasattr(x, "_inputs") else ():
        yield each
        yield from _inputs(each)


def _counted(x):
    """The batches of one round of the data."""
    begin = time.monotonic()
    count = 0
    silent = True
    for _ in x:
        count += 1
        if silent and time.monotonic() - begin > _SECONDS_TO_COUNT_IN_SILENCE:
            silent = False
            warnings.warn(
                f"The data does not say how many batches it has, and {count} have been counted so "
                "far. Pass `steps_per_epoch` to train without counting, and where the data has "
                "no end.",
                stacklevel=4,
            )
    return count


def _of_length(dataset, batches):
    """The `tf.data.Dataset`, which says how many batches it has.

    Keras runs off the end of one that does not, and TensorFlow may then still count a step of
    the optimizer, for which there was no batch. Where the dataset gives fewer another time, it
    goes round.
    """
    import tensorflow as tf

    return dataset.repeat().take(batches).apply(tf.data.experimental.assert_cardinality(batches))
