"""Scheduled values inside the compiled step.

A traced train step keeps every Python float that it has read. While a schedule drives a
hyperparameter, the optimizer is therefore given a class of its own, made from the one it has, in
which that hyperparameter is a property:

- inside an update it is a `ScheduledValue`, a tensor computed from the optimizer's step,
- elsewhere in a compiled step it is that tensor,
- outside, it is the float that this tensor now has.

The float that the optimizer was built with stays where it was, in the optimizer's `__dict__`.
Nothing is added to the optimizer, so that there is nothing to save and nothing to put back but
its class.
"""

import contextlib
import types

import keras
from keras import ops

from keras_cyclic._readings import steps_made
from keras_cyclic._scheduled_value import Hyperparameter, ScheduledValue


class Schedules:
    """The scheduled hyperparameters of one optimizer, and the class that shows them."""

    def __init__(self, optimizer):
        self._optimizer = optimizer
        self._class = type(optimizer)
        self._entries = {}
        self._unused = set()
        self._values = {}
        self._updates_begun = 0
        self._scheduled_class = _scheduled_class(self._class, self)
        _set_class(optimizer, self._scheduled_class)

    def names(self):
        """The names that a `fit` that still runs schedules."""
        for _, owner in list(self._entries.values()):
            owner.end_if_over()
        return list(self._entries)

    def add(self, target, owner):
        """Makes a hyperparameter a property, for as long as the `ScheduledFit` lasts."""
        self._entries[target.name] = (target, owner)
        self._unused.add(target.name)
        setattr(self._scheduled_class, target.name, _scheduled_property(target.name, self))

    def remove(self, target):
        """Makes it the plain float again, and with the last one the class the original."""
        del self._entries[target.name]
        self._unused.discard(target.name)
        delattr(self._scheduled_class, target.name)
        if not self._entries:
            _set_class(self._optimizer, self._class)

    def read(self, name):
        """What the attribute `name` of the optimizer is here and now."""
        if name in self._values:
            return self._values[name]
        target, owner = self._entries[name]
        if owner.end_if_over():
            return target.plain
        if not _is_eager():
            return target.now()
        owner.sync()
        return float(ops.convert_to_numpy(target.now()))

    def values_at(self, step):
        """What the hyperparameters are at an integer tensor of steps, a dict of tensors."""
        return {name: self._entries[name][0].value(step) for name in self.names()}

    def assign(self, name, value):
        """Refuses an assignment, which the schedule would overrule, while `fit` runs."""
        _, owner = self._entries[name]
        if not owner.end_if_over():
            raise TypeError(
                f"`{name}` of {describe(self._optimizer)} is driven by a schedule in this `fit`, "
                f"hence it is not settable. Received: {name}={value!r}"
            )
        setattr(self._optimizer, name, value)

    def plain(self):
        """The floats that the optimizer was built with."""
        return {name: target.plain for name, (target, _) in self._entries.items()}

    @contextlib.contextmanager
    def update(self, names=None):
        """Within it the hyperparameters, or some, are what the update is to compute with."""
        names = self.names() if names is None else names
        # All are computed here, since what is computed in a branch of the update stays there.
        self._values.update({name: self._in_update(self._entries[name][0]) for name in names})
        # Replicas take turns: the second one begins before the first one is done.
        self._updates_begun += 1
        try:
            yield
        finally:
            self._updates_begun -= 1
            if not self._updates_begun:
                self._values.clear()

    def check_use(self):
        """Raises if the update that was just traced or made ignores a hyperparameter."""
        if self._unused and self._saw_whole_update():
            name = min(self._unused)
            raise ValueError(
                f"`{name}` of {describe(self._optimizer)} cannot be scheduled: the update of "
                f"this model's weights does not use it. Received: {self._entries[name][0].source}"
            )

    def _saw_whole_update(self):
        if not _is_eager() or keras.backend.backend() == "jax":
            return True
        steps = self._optimizer.gradient_accumulation_steps or 1
        return steps_made(self._optimizer) % steps == 0

    def _in_update(self, target):
        if keras.backend.backend() == "torch":
            # Its fused updates take nothing but Python numbers, and it compiles nothing.
            self._unused.discard(target.name)
            return float(ops.convert_to_numpy(target.now()))
        hyperparameter = Hyperparameter(
            label=f"`{target.name}` of {describe(self._optimizer)}",
            use=lambda: self._unused.discard(target.name),
            dtype=self._dtype_of_weights,
        )
        value = ScheduledValue(hyperparameter, target.now(), target.plain)
        if keras.backend.backend() == "jax" and target.name in _LIMITS:
            return value.as_tensor()
        return value

    def _dtype_of_weights(self):
        dtypes = {
            keras.backend.standardize_dtype(v.dtype) for v in self._optimizer._trainable_variables
        }
        return dtypes.pop() if len(dtypes) == 1 else "float32"


# What optimizers give to Keras's `clip`, which takes nothing but arrays and numbers on JAX.
_LIMITS = ("l1_regularization_strength",)


def schedules_of(optimizer):
    """The `Schedules` of an optimizer that has some, or None."""
    return getattr(type(optimizer), "_keras_cyclic_schedules", None)


def _scheduled_class(original, schedules):
    """A class like `original`, which passes for it."""

    def apply(self, *args, **kwargs):
        with schedules.update():
            result = original.apply(self, *args, **kwargs)
        schedules.check_use()
        return result

    def scale_loss(self, loss):
        names = [name for name in schedules.names() if name == "loss_scale_factor"]
        with schedules.update(names):
            return original.scale_loss(self, loss)

    def _clip_gradients(self, grads):
        limit = self.clipvalue
        if not isinstance(limit, ScheduledValue):
            return original._clip_gradients(self, grads)
        # Again a limit of `clip`; but Keras compares this one with 0, which no tensor allows.
        limits = [None if g is None else limit.as_tensor(g.dtype) for g in grads]
        return [g if v is None else ops.clip(g, -v, v) for g, v in zip(grads, limits)]

    def get_config(self):
        config = original.get_config(self)
        return config | {k: v for k, v in schedules.plain().items() if k in config}

    namespace = {
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
        # Keras's serialization asks for `__class__`: a saved model must name the original.
        "__class__": property(lambda self: original),
        "_keras_cyclic_schedules": schedules,
        "apply": apply,
        "scale_loss": scale_loss,
        "_clip_gradients": _clip_gradients,
        "get_config": get_config,
    }
    return types.new_class(
        original.__name__, (original,), exec_body=lambda ns: ns.update(namespace)
    )


def _scheduled_property(name, schedules):
    return property(
        lambda self: schedules.read(name), lambda self, value: schedules.assign(name, value)
    )


def _set_class(optimizer, new_class):
    # Past the property of that name, and past Keras's tracking of attributes.
    object.__dict__["__class__"].__set__(optimizer, new_class)


def _is_eager():
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return tf.executing_eagerly()


def describe(optimizer):
    """What to call an optimizer in an error: its class, and its name where it was given one."""
    name = optimizer.__class__.__name__
    return name if optimizer.name.lower().startswith(name.lower()) else f"{name} {optimizer.name!r}"
