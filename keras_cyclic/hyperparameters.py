"""Scheduling the hyperparameters of the optimizers of a model, for one `fit`."""

import contextlib
import types

import numpy as np
from keras import ops

from keras_cyclic import _hyperparameter_rules as rules
from keras_cyclic._fit import Fit
from keras_cyclic._readings import bring_up_to_date, steps_made
from keras_cyclic._scheduled_optimizer import Schedules, describe, schedules_of
from keras_cyclic._wrapped_optimizers import real_optimizers
from keras_cyclic.schedules.clock import integer_step


def real_optimizers_of(model):
    """The optimizers that update the weights of a model in `fit`.

    Args:
        model: A compiled model.

    Returns:
        A list of optimizers that are no wrappers, not empty.

    Raises:
        ValueError: If there is no optimizer, or it cannot be told which ones there will be.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError("The model must be compiled: call `model.compile(optimizer, loss)` first.")
    # On TensorFlow a MultiOptimizer asks for the optimizers of its groups in the first step.
    build_if_possible(model)
    found = real_optimizers(optimizer)
    if not found:
        raise ValueError(
            "The optimizers of a MultiOptimizer that is not built are not known yet. Build the "
            "model before `fit`, by giving it a `keras.Input` or by calling it on a batch."
        )
    return found


def build_if_possible(model):
    """Builds the optimizer of a model, as its first step would, if the model is built."""
    if not model.optimizer.built and all(layer.built for layer in model._flatten_layers()):
        strategy = getattr(model, "distribute_strategy", None)
        # TensorFlow's strategies must know of variables that are made outside of their scope.
        with contextlib.nullcontext() if strategy is None else strategy.scope():
            model.optimizer.build(model.trainable_variables)


def scheduled(optimizer):
    """The hyperparameters of an optimizer that are being scheduled, with their current values.

    Args:
        optimizer: An optimizer that is no wrapper; see `real_optimizers_of`.

    Returns:
        A dict of floats, empty outside of a `fit` with a callback that schedules one.
    """
    schedules = schedules_of(optimizer)
    return {name: getattr(optimizer, name) for name in schedules.names()} if schedules else {}


def scheduled_at(optimizer, steps):
    """The hyperparameters of an optimizer that are being scheduled, with their values at steps.

    Args:
        optimizer: An optimizer that is no wrapper; see `real_optimizers_of`.
        steps: A NumPy array of steps.

    Returns:
        A dict of float64 NumPy arrays, empty outside of a `fit` with a callback that schedules
        one.
    """
    schedules = schedules_of(optimizer)
    values = schedules.values_at(integer_step(steps)) if schedules else {}
    return {
        name: np.asarray(ops.convert_to_numpy(value), "float64") for name, value in values.items()
    }


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
                f"`{name}` of {describe(optimizer)} cannot be scheduled: {reason}. "
                f"Received: name={name!r}"
            )
        schedules = schedules_of(optimizer)
        if schedules and name in schedules.names():
            raise ValueError(
                f"`{name}` of {describe(optimizer)} has two schedules in one `fit`. Pass one "
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
        """Raises if the optimizer does not allow a value, of those that can be looked at quickly.

        Args:
            steps: How many steps there will be, or None if that is not known.
        """
        allowed, words = rules.limits(self.name)
        first = steps_made(self.optimizer)
        looked_at = first + _sample(steps)
        values = ops.convert_to_numpy(self.value(integer_step(looked_at)))
        for step, value in zip(looked_at, values):
            if not (np.isfinite(value) and allowed(value)):
                raise ValueError(
                    f"The schedule of `{self.name}` must give values that are finite and {words}. "
                    f"Received: {float(value)!r} at step {step} from {self.source}"
                )


_LOOKED_AT = 2**14


def _sample(steps):
    """Steps from 0: the first ones all, and as many evenly spread over the rest."""
    near = np.arange(min(steps or _LOOKED_AT, _LOOKED_AT))
    far = np.linspace(0, (steps or 1) - 1, _LOOKED_AT).astype("int64")
    return np.unique(np.concatenate([near, far]))


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
            (schedules_of(target.optimizer) or Schedules(target.optimizer)).add(target, self)
        _train_function_maker(model).owners.append(self)
        # `fit` has already made or kept a function, and it may be traced.
        model.make_train_function(force=True)

    def sync(self):
        """Brings the optimizer's step up to date where the backend keeps it elsewhere."""
        bring_up_to_date(self._model)

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
            schedules = schedules_of(target.optimizer)
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
