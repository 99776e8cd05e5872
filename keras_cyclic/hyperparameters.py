"""Scheduled values inside the compiled step.

A traced train step keeps every Python float that it has read. While a schedule drives a
hyperparameter, the optimizer is therefore given a class of its own, made from the one it has, in
which that hyperparameter is a property:

- inside an update it is a `ScheduledValue`, a tensor computed from the optimizer's step,
- elsewhere it is the float that this tensor now has.

The float that the optimizer was built with stays where it was, in the optimizer's `__dict__`.
Nothing is added to the optimizer, so that there is nothing to save and nothing to put back but
its class.
"""

import contextlib
import types

import keras
import numpy as np
from keras import ops

from keras_cyclic import _hyperparameter_rules as rules
from keras_cyclic._fit import Fit
from keras_cyclic._scheduled_value import ScheduledValue
from keras_cyclic.schedules.clock import integer_step


def real_optimizers(optimizer):
    """The optimizers that update weights, under the wrappers that Keras has.

    Args:
        optimizer: Any optimizer, a `LossScaleOptimizer` and a `MultiOptimizer` among them.

    Returns:
        A list of optimizers; of a built `MultiOptimizer`, those that have weights to update.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return real_optimizers(optimizer.inner_optimizer)
    # MultiOptimizer came with Keras 3.15.
    if isinstance(optimizer, getattr(keras.optimizers, "MultiOptimizer", ())):
        return [group for group in optimizer.optimizers if group.built or not optimizer.built]
    return [optimizer]


def scheduled(optimizer):
    """The hyperparameters of an optimizer that are being scheduled, with their current values.

    Args:
        optimizer: An optimizer that is no wrapper; see `real_optimizers`.

    Returns:
        A dict of floats, empty outside of a `fit` with a callback that schedules one.
    """
    schedules = _schedules(optimizer)
    return {name: getattr(optimizer, name) for name in schedules.names()} if schedules else {}


class Target:
    """One hyperparameter of one optimizer, and what drives it.

    Args:
        optimizer: An optimizer that is no wrapper.
        name: The hyperparameter's name.
        value: A function from an integer tensor of steps, of any shape, to a float tensor.
        source: What to call the function in an error.

    Raises:
        ValueError: If the hyperparameter cannot be scheduled.
    """

    def __init__(self, optimizer, name, value, source):
        reason = rules.refusal(optimizer, name)
        if reason is not None:
            raise ValueError(
                f"`{name}` of {_describe(optimizer)} cannot be scheduled: {reason}. "
                f"Received: name={name!r}"
            )
        schedules = _schedules(optimizer)
        if schedules and name in schedules.names():
            raise ValueError(
                f"`{name}` of {_describe(optimizer)} has two schedules in one `fit`. Pass one "
                f"callback for it. Received second: {source}"
            )
        self.optimizer = optimizer
        self.name = name
        self.value = value
        self.source = source
        self.plain = vars(optimizer)[name]

    def now(self):
        """The value at the optimizer's step, a scalar tensor."""
        # `_iterations`, as for the learning rate: `iterations` counts whole accumulations.
        return self.value(integer_step(self.optimizer._iterations))

    def check_values(self, steps):
        """Raises if the optimizer does not allow a value.

        Args:
            steps: How many steps there will be, or None if that is not known.
        """
        allowed, words = rules.limits(self.name)
        first = int(ops.convert_to_numpy(self.optimizer._iterations))
        looked_at = first + _sample(steps)
        values = ops.convert_to_numpy(self.value(integer_step(looked_at)))
        for step, value in zip(looked_at, values):
            if not (np.isfinite(value) and allowed(value)):
                raise ValueError(
                    f"The schedule of `{self.name}` must give values that are finite and {words}. "
                    f"Received: {float(value)!r} at step {step} from {self.source}"
                )


# How many of the steps ahead are looked at before the first one, at most.
_LOOKED_AT = 2**15


def _sample(steps):
    """Steps from 0: the first ones all, the rest evenly spread."""
    if steps is None or steps <= _LOOKED_AT:
        return np.arange(steps or _LOOKED_AT)
    return np.unique(
        np.concatenate(
            [
                np.arange(_LOOKED_AT // 2),
                np.linspace(0, steps - 1, _LOOKED_AT // 2).astype("int64"),
            ]
        )
    )


class ScheduledFit:
    """Schedules hyperparameters for the `fit` that it is made in.

    Args:
        model: The model that trains.
        targets: A list of `Target`.
    """

    def __init__(self, model, targets):
        self._model = model
        self._targets = targets
        self._fit = Fit()
        for target in targets:
            (_schedules(target.optimizer) or _Schedules(target.optimizer)).add(target, self)
        _train_function_maker(model).owners.append(self)
        # `fit` has already made or kept a function, and it may be traced.
        model.make_train_function(force=True)

    def sync(self):
        """Brings the optimizer's step up to date where the backend keeps it elsewhere."""
        if hasattr(self._model, "jax_state_sync"):
            self._model.jax_state_sync()

    def end_if_over(self):
        """Ends the scheduling if `fit` was left without a call of `end`.

        Returns:
            Whether it is over.
        """
        if self._fit.is_running():
            return False
        self.end()
        return True

    def end(self):
        """Makes the hyperparameters plain floats again, and forgets the compiled step."""
        for target in self._targets:
            schedules = _schedules(target.optimizer)
            if schedules:
                schedules.remove(target)
        self._targets = []
        maker = _train_function_maker(self._model)
        maker.owners[:] = [owner for owner in maker.owners if owner is not self]
        maker.restore_if_unused()
        self._model.train_function = None


class _TrainFunctionMaker:
    """Stands in for `model.make_train_function` while hyperparameters are scheduled.

    Every use of the compiled step begins with a call of it. The first one after a `fit` that
    was interrupted must not get that `fit`'s step.
    """

    def __init__(self, model):
        self._model = model
        self._own = vars(model).get("make_train_function")
        self.owners = []
        vars(model)["make_train_function"] = self

    def __call__(self, *args, **kwargs):
        for owner in list(self.owners):
            owner.end_if_over()
        make = self._own or types.MethodType(type(self._model).make_train_function, self._model)
        return make(*args, **kwargs)

    def restore_if_unused(self):
        if self.owners:
            return
        del vars(self._model)["make_train_function"]
        if self._own is not None:
            vars(self._model)["make_train_function"] = self._own


def _train_function_maker(model):
    maker = vars(model).get("make_train_function")
    return maker if isinstance(maker, _TrainFunctionMaker) else _TrainFunctionMaker(model)


class _Schedules:
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
        self._entries[target.name] = (target, owner)
        self._unused.add(target.name)
        setattr(self._scheduled_class, target.name, _scheduled_property(target.name, self))

    def remove(self, target):
        del self._entries[target.name]
        self._unused.discard(target.name)
        delattr(self._scheduled_class, target.name)
        if not self._entries:
            _set_class(self._optimizer, self._class)

    def read(self, name):
        if name in self._values:
            return self._values[name]
        target, owner = self._entries[name]
        if owner.end_if_over():
            return target.plain
        if not _is_eager():
            return self._in_update(target)
        owner.sync()
        return float(ops.convert_to_numpy(target.now()))

    def assign(self, name, value):
        _, owner = self._entries[name]
        if not owner.end_if_over():
            raise TypeError(
                f"`{name}` of {_describe(self._optimizer)} is driven by a schedule in this `fit`, "
                f"hence it is not settable. Received: {name}={value!r}"
            )
        setattr(self._optimizer, name, value)

    def plain(self):
        return {name: target.plain for name, (target, _) in self._entries.items()}

    @contextlib.contextmanager
    def update(self):
        """Within it the hyperparameters are what the update is to compute with."""
        names = self.names()
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
                f"`{name}` of {_describe(self._optimizer)} cannot be scheduled: the update of "
                f"this model's weights does not use it. Received: {self._entries[name][0].source}"
            )

    def _saw_whole_update(self):
        if not _is_eager() or keras.backend.backend() == "jax":
            return True
        steps = self._optimizer.gradient_accumulation_steps or 1
        return int(ops.convert_to_numpy(self._optimizer._iterations)) % steps == 0

    def _in_update(self, target):
        if keras.backend.backend() == "torch":
            # Its fused updates take nothing but Python numbers, and it compiles nothing.
            self._unused.discard(target.name)
            return float(ops.convert_to_numpy(target.now()))
        label = f"`{target.name}` of {_describe(self._optimizer)}"
        used = lambda: self._unused.discard(target.name)  # noqa: E731
        return ScheduledValue(label, target.now(), target.plain, used)


def _schedules(optimizer):
    """The `_Schedules` of an optimizer that has some, or None."""
    return getattr(type(optimizer), "_keras_cyclic_schedules", None)


def _scheduled_class(original, schedules):
    """A class like `original`, which passes for it."""

    def apply(self, *args, **kwargs):
        with schedules.update():
            result = original.apply(self, *args, **kwargs)
        schedules.check_use()
        return result

    def scale_loss(self, loss):
        if "loss_scale_factor" not in schedules.names():
            return original.scale_loss(self, loss)
        with schedules.update():
            return original.scale_loss(self, loss)

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


def _describe(optimizer):
    name = optimizer.__class__.__name__
    return name if optimizer.name.startswith(name.lower()) else f"{name} {optimizer.name!r}"
