"""Training steps that set the learning rate and record the loss of each batch."""

import contextlib

import keras
import numpy as np

from keras_cyclic._training_state import metrics
from keras_cyclic._wrapped_optimizers import rate_ratios, real_optimizers
from keras_cyclic.schedules.clock import at


class TestedRates:
    """The learning rate of an optimizer, or of all the optimizers in one, under test.

    The rates of several optimizers keep their ratios, and the highest of them is the tested one.

    Args:
        optimizer: The model's optimizer.
        learning_rates: The rates to test, a NumPy array.
    """

    def __init__(self, optimizer, learning_rates):
        self._optimizers = real_optimizers(optimizer)
        self._originals = [each._learning_rate for each in self._optimizers]
        self._values = [_plain(rate) for rate in self._originals]
        ratios = rate_ratios(self._optimizers)
        # One more than there are steps: for those that the last execution runs beyond the test.
        rates = np.append(learning_rates, learning_rates[-1])
        self._tables = [(ratio * rates).astype(keras.config.floatx()) for ratio in ratios]
        self._variables = []
        for optimizer, original, table in zip(self._optimizers, self._originals, self._tables):
            variable = original
            # On JAX, the variables of an optimizer have no values while `fit` runs.
            if not isinstance(original, keras.Variable) or keras.backend.backend() == "jax":
                variable = keras.Variable(
                    float(table[0]), dtype=keras.config.floatx(), trainable=False
                )
                # The optimizer's `learning_rate` would not take a number in place of a schedule,
                # and `__setattr__` would count the variable among the optimizer's own.
                vars(optimizer)["_learning_rate"] = variable
            variable.assign(table[0])
            self._variables.append(variable)

    def assign(self, index):
        """Sets the rates of one step.

        Args:
            index: The step's number, a Python int or an integer tensor.
        """
        for variable, table in zip(self._variables, self._tables):
            variable.assign(at(table, index))

    def at(self, index):
        """The rates of one step, a list with a NumPy number for each optimizer."""
        return [table[index] for table in self._tables]

    @contextlib.contextmanager
    def replaced(self, tensors):
        """Gives the optimizers tensors for rates, while a step is traced."""
        for optimizer, tensor in zip(self._optimizers, tensors):
            vars(optimizer)["_learning_rate"] = tensor
        try:
            yield
        finally:
            for optimizer, variable in zip(self._optimizers, self._variables):
                vars(optimizer)["_learning_rate"] = variable

    def restore(self):
        """Gives the optimizers their own rates and schedules back."""
        for optimizer, original, value, variable in zip(
            self._optimizers, self._originals, self._values, self._variables
        ):
            vars(optimizer)["_learning_rate"] = original
            if variable is original:
                original.assign(value)


def _plain(rate):
    # `float` fails on the variables of a `tf.distribute` strategy.
    return float(keras.ops.convert_to_numpy(rate)) if isinstance(rate, keras.Variable) else None


class StepNotRecordable(Exception):
    """The compiled step is none that can record its own losses. The text says why."""


class RecordedSteps:
    """What the ways of running steps have in common."""

    def train_function(self, run):
        """What `fit` is to call, so that `run` is called with the data."""
        return run

    def write_variables(self):
        """Gives the model's variables their values, where they have none during the steps."""

    def take_variables(self):
        """Makes the next step begin with the values that the model's variables have now."""

    def keep_variables(self):
        """Keeps `fit` from writing the variables once more, while an exception ends it."""


class CompiledSteps(RecordedSteps):
    """Steps whose rate is set and whose loss is recorded inside the compiled function.

    The metrics that the reported loss may come from are reset at the start of each step, in the
    graph, so that it is the loss of one batch and not a running mean.

    Args:
        model: The model.
        rates: The `TestedRates`.
        steps: How many losses to record.
        monitor: The name of the loss in what `train_step` returns.
        steps_per_execution: How many steps one call runs.
    """

    def __init__(self, model, rates, steps, monitor, steps_per_execution):
        import tensorflow as tf

        self._tf = tf
        self._model = model
        self._rates = rates
        self._limit = steps
        self._monitor = monitor
        self._train_step = model.train_step
        self._record = tf.Variable(tf.fill([steps + 1], np.float32(np.nan)), trainable=False)
        self.count = 0
        self._index = tf.Variable(0, dtype="int64", trainable=False)
        self._metrics = [model._loss_tracker]
        if "train_step" in vars(model) or type(model).train_step is not keras.Model.train_step:
            self._metrics = metrics(model)
        model.train_step = self._recorded_step
        self._function = train_function(model, steps_per_execution)

    def _recorded_step(self, data):
        # Where the data ends, the graph may still run what does not wait for it.
        with self._tf.control_dependencies(
            list(filter(self._tf.is_tensor, keras.tree.flatten(data)))
        ):
            # One beyond the last when the last execution runs further than the test.
            index = self._tf.minimum(self._index, self._limit)
            self._rates.assign(index)
            self._reset_metrics()
        logs = self._train_step(data)
        loss = self._tf.cast(_reported(logs, self._monitor), self._record.dtype)
        self._record.scatter_update(
            self._tf.IndexedSlices(self._tf.reshape(loss, [1]), self._tf.reshape(index, [1]))
        )
        with self._tf.control_dependencies([loss]):
            self._index.assign_add(1)
        return logs

    def _reset_metrics(self):
        for metric in self._metrics:
            try:
                metric.reset_state()
            except Exception as error:
                raise StepNotRecordable(
                    f"the metric {metric.name!r} cannot be reset in a compiled step ({error})"
                ) from error

    def run(self, iterator):
        """Runs one execution, and returns its logs."""
        logs = _run(self._function, iterator)
        # Read once: each read waits for the device.
        self.count = min(int(self._index.numpy()), self._limit)
        if self.count == 0:
            raise StepNotRecordable("its train function does not call `train_step`")
        return logs

    def losses(self, begin):
        """The losses recorded from step `begin` on, a NumPy array."""
        return self._record.numpy()[begin : self.count]


class SingleSteps(RecordedSteps):
    """Steps that are run one by one, their rates set and their losses read between them.

    Arguments as for `CompiledSteps`.
    """

    def __init__(self, model, rates, steps, monitor):
        self._model = model
        self._rates = rates
        self._limit = steps
        self._monitor = monitor
        self._losses = []
        self._function = self._make_function()

    def run(self, data):
        """Runs one step, and returns its logs.

        Args:
            data: What `fit` gives a train function.
        """
        index = min(self.count, self._limit)
        self._rates.assign(index)
        logs = self._run(data, index)
        if self.count < self._limit:
            self._losses.append(float(_reported(logs, self._monitor)))
        return logs

    def _make_function(self):
        return train_function(self._model, steps_per_execution=1)

    def _run(self, data, index):
        for metric in metrics(self._model):
            metric.reset_state()
        return _run(self._function, data)

    @property
    def count(self):
        """How many steps were recorded."""
        return len(self._losses)

    def losses(self, begin):
        """The losses recorded from step `begin` on, a NumPy array."""
        return np.array(self._losses[begin:], "float32")


def train_function(model, steps_per_execution):
    """A newly compiled train function of the model."""
    model.steps_per_execution = steps_per_execution
    model.train_function = None
    model.make_train_function()
    return model.train_function


def _run(function, iterator):
    """Runs a train function. Keras ends a round of the data in one of two ways; here it is one."""
    if keras.backend.backend() != "tensorflow":
        return function(iterator)
    import tensorflow as tf

    try:
        return function(iterator)
    except tf.errors.OutOfRangeError as error:
        raise StopIteration from error


def _reported(logs, monitor):
    loss = logs.get(monitor) if isinstance(logs, dict) else None
    if loss is None:
        names = list(logs) if isinstance(logs, dict) else logs
        raise ValueError(
            f"The range test records the {monitor!r} that the model's `train_step` returns, and "
            "it returns none. Return the loss under that name, or give the name of another value "
            f"as `monitor`. Received: train_step returned {names}"
        )
    return keras.ops.mean(loss)
