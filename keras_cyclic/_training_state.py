"""All that training changes in a model and around it, kept so that it can be put back."""

import random

import keras
import numpy as np
from keras.src.backend.common import global_state

from keras_cyclic._torch_modules import TorchModules
from keras_cyclic._wrapped_optimizers import wrapped_optimizers

_ABSENT = object()
_SEED_GENERATOR = "global_seed_generator"


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
        self._unbuilt = UnbuiltParts(model)
        variables = [*model.variables]
        for optimizer in _all_optimizers(model):
            variables += optimizer.variables
        variables += [value for value in vars(model).values() if _is_bare_variable(value)]
        self._values = _Values(variables)
        self._metrics = _Values([v for metric in metrics(model) for v in metric.variables])
        self._modules = TorchModules(model)

    def restore(self):
        """Puts the weights, the optimizers' values and the random state back."""
        self._values.restore()
        self._modules.restore()
        self.random.restore()

    def restore_for_good(self):
        """Puts all back, also the metrics, and optimizers that were not built to that state."""
        for metric in metrics(self._model):
            # Those that were built since then have no value to go back to but their first.
            metric.reset_state()
        self._metrics.restore()
        self.restore()
        self._modules.restore_for_good()
        self._unbuilt.restore()


class UnbuiltParts:
    """Which of a model's optimizers, losses and metrics have no variables yet, to undo it.

    Args:
        model: A compiled model.
    """

    def __init__(self, model):
        parts = _all_optimizers(model)
        if keras.backend.backend() != "tensorflow":
            # To build these, `fit` draws a batch there, which moves the random generators on.
            parts += [
                part for part in (model._compile_loss, model._compile_metrics) if part is not None
            ]
        self._remembered = [
            _Remembered(each)
            for part in parts
            if not part.built
            for each in (part, getattr(part, "_tracker", None))
            if each is not None
        ]

    def restore(self):
        for remembered in self._remembered:
            remembered.restore()


def _all_optimizers(model):
    return [
        wrapped
        for value in vars(model).values()
        if isinstance(value, keras.optimizers.Optimizer)
        for wrapped in wrapped_optimizers(value)
    ]


class _Values:
    """Copies of the values of variables."""

    def __init__(self, variables):
        self._variables = list({id(variable): variable for variable in variables}.values())
        self._values = [_copied(variable) for variable in self._variables]

    def restore(self):
        for variable, value in zip(self._variables, self._values):
            variable.assign(value)


class RandomState:
    """The state of the random generators of Python, NumPy, Keras, and TensorFlow or PyTorch."""

    def __init__(self):
        self._python = random.getstate()
        self._numpy = np.random.get_state()
        self._keras = global_state.get_global_attribute(_SEED_GENERATOR)
        self._keras_value = None if self._keras is None else _copied(self._keras.state)
        self._tensorflow = _tensorflow_generator_state()
        self._torch = []
        if keras.backend.backend() == "torch":
            import torch  # type: ignore[import-not-found]

            # `fit` shuffles with the first, and PyTorch's own layers draw from them.
            self._torch = [
                (torch.set_rng_state, torch.get_rng_state()),
                (torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()),
            ]

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
        for set_state, state in self._torch:
            set_state(state)


class _Remembered:
    """An object's attributes, and what the containers among them hold.

    TensorFlow wraps dicts and lists in containers that have attributes of their own.
    """

    def __init__(self, owner):
        self._own = _own_attributes(owner)
        self._attributes = dict(self._own)
        self._contents = []
        self._wrappers = []
        for value in self._attributes.values():
            content = getattr(value, "__wrapped__", value)
            if self._remember(content) and (content is not value or hasattr(value, "_storage")):
                self._wrappers.append(_Remembered(value))

    def _remember(self, container):
        kind = next((each for each in (list, dict, set) if isinstance(container, each)), None)
        if kind is None:
            return False
        # The methods of the built-in types themselves: Keras's containers track what they get.
        self._contents.append((container, kind, kind.copy(container)))
        for nested in kind.values(container) if kind is dict else ():
            if isinstance(nested, set):
                self._remember(nested)
        return True

    def restore(self):
        self._own.clear()
        self._own.update(self._attributes)
        for container, kind, content in self._contents:
            kind.clear(container)
            (kind.extend if kind is list else kind.update)(container, content)
        for wrapper in self._wrappers:
            wrapper.restore()


def _own_attributes(owner):
    """An object's `__dict__`; for a proxy, its own and not that of what it stands for."""
    return object.__getattribute__(owner, "__dict__")


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
