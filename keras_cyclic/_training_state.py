"""All that training changes in a model and around it, kept so that it can be put back."""

import random

import keras
import numpy as np
from keras.src.backend.common import global_state

_ABSENT = object()
_SEED_GENERATOR = "global_seed_generator"


def wrapped_optimizers(optimizer):
    """An optimizer and all those inside it, outermost first."""
    inner = list(getattr(optimizer, "optimizers", ()))
    if hasattr(optimizer, "inner_optimizer"):
        inner.append(optimizer.inner_optimizer)
    return [optimizer] + [deeper for item in inner for deeper in wrapped_optimizers(item)]


def metrics(model):
    """All of a model's metrics, also those that its own `metrics` property leaves out."""
    hidden = [value for value in vars(model).values() if isinstance(value, keras.Metric)]
    return list({id(metric): metric for metric in [*model.metrics, *hidden]}.values())


class TrainingState:
    """One copy of a model's weights and of its optimizers' and metrics' state.

    Holds also which optimizers were not built yet, and the state of the random generators.

    Args:
        model: A compiled and built model.
    """

    def __init__(self, model):
        self._model = model
        self.random = RandomState()
        optimizers = [
            wrapped
            for value in vars(model).values()
            if isinstance(value, keras.optimizers.Optimizer)
            for wrapped in wrapped_optimizers(value)
        ]
        self._unbuilt = [_UnbuiltOptimizer(each) for each in optimizers if not each.built]
        variables = [*model.variables]
        for owner in [*metrics(model), *optimizers]:
            variables += owner.variables
        variables += [value for value in vars(model).values() if _is_bare_variable(value)]
        self._variables = list({id(variable): variable for variable in variables}.values())
        self._values = [_copied(variable) for variable in self._variables]

    def restore(self):
        """Puts every value back. What was built since then stays built."""
        for metric in metrics(self._model):
            metric.reset_state()
        for variable, value in zip(self._variables, self._values):
            variable.assign(value)
        self.random.restore()

    def restore_for_good(self):
        """Puts every value back, and the optimizers that were not built to that state."""
        self.restore()
        for optimizer in self._unbuilt:
            optimizer.restore()


class RandomState:
    """The state of the random generators of Python, NumPy, Keras and TensorFlow."""

    def __init__(self):
        self._python = random.getstate()
        self._numpy = np.random.get_state()
        self._keras = global_state.get_global_attribute(_SEED_GENERATOR)
        self._keras_value = None if self._keras is None else _copied(self._keras.state)
        self._tensorflow = _tensorflow_generator_state()

    def restore(self):
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        global_state.set_global_attribute(_SEED_GENERATOR, self._keras)
        if self._keras is not None:
            self._keras.state.assign(self._keras_value)
        if _tensorflow_generator_state() != self._tensorflow:
            context = _tensorflow_context()
            context._rng.setstate(self._tensorflow)
            # The seeds that are drawn again now would find their operations in the cache, at the
            # state to which the first draw has brought them.
            context.clear_kernel_cache()


class _UnbuiltOptimizer:
    """The attributes of an optimizer that has no slots yet."""

    def __init__(self, optimizer):
        self._optimizer = optimizer
        self._attributes = dict(vars(optimizer))
        self._contents = {
            name: value.copy()
            for name, value in self._attributes.items()
            if isinstance(value, (list, dict, set))
        }

    def restore(self):
        # By `_untrack_variable` the optimizer's tracker, too, forgets the slots: it knows them by
        # their ids, which later objects may have.
        known = {id(variable) for variable in self._contents["_variables"]}
        for variable in list(self._optimizer._variables):
            if id(variable) not in known:
                self._optimizer._untrack_variable(variable)
        vars(self._optimizer).clear()
        vars(self._optimizer).update(self._attributes)
        for name, content in self._contents.items():
            container = self._attributes[name]
            # The methods of `list` and `dict` themselves: Keras's containers would track again.
            plain = next(kind for kind in (list, dict, set) if isinstance(container, kind))
            plain.clear(container)
            (list.extend if plain is list else plain.update)(container, content)


def _copied(variable):
    """A variable's value in the host's memory."""
    return np.array(keras.ops.convert_to_numpy(variable))


def _is_bare_variable(value):
    return isinstance(value, keras.Variable) or (
        hasattr(value, "assign") and hasattr(value, "handle")
    )


def _tensorflow_context():
    from tensorflow.python.eager import context

    return context.context()


def _tensorflow_generator_state():
    """The generator that gives a seed to each eager random operation; None before a seed is set."""
    if keras.backend.backend() != "tensorflow":
        return None
    generator = getattr(_tensorflow_context(), "_rng", None)
    return None if generator is None else generator.getstate()


class Attributes:
    """Some of an object's own attributes, present or absent.

    Args:
        owner: The object.
        names: The names of its attributes.
    """

    def __init__(self, owner, names):
        self._owner = owner
        self._values = {name: vars(owner).get(name, _ABSENT) for name in names}

    def restore(self):
        for name, value in self._values.items():
            if value is not _ABSENT:
                setattr(self._owner, name, value)
            elif name in vars(self._owner):
                delattr(self._owner, name)
