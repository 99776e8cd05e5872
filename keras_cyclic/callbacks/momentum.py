"""Callbacks that schedule momentum and the other hyperparameters of an optimizer."""

from typing import Any

import keras

from keras_cyclic import _arguments
from keras_cyclic._config import Configurable, describe
from keras_cyclic._hyperparameter_rules import refusal
from keras_cyclic._types import Logs, Real
from keras_cyclic.hyperparameters import ScheduledFit, Target, real_optimizers_of
from keras_cyclic.schedules.adjustable import wave_of
from keras_cyclic.schedules.schedule import KerasSchedule, check_schedule, evaluate
from keras_cyclic.schedules.wave import against


class _HyperparameterCallback(Configurable, keras.callbacks.Callback):
    """Schedules what `targets` gives, from the start of `fit` to its end."""

    _scheduled = None

    def targets(self, optimizers: list[Any]) -> list[Target]:
        """A list of `Target` for the optimizers that update the model's weights."""
        raise NotImplementedError

    def on_train_begin(self, logs: Logs = None) -> None:
        if keras.backend.backend() == "torch" and getattr(self.model, "jit_compile", False):
            raise ValueError(
                f"{type(self).__name__} does not work with jit_compile=True on the PyTorch "
                "backend, whose optimizers compute with Python numbers. Compile the model with "
                "jit_compile=False."
            )
        targets = self.targets(real_optimizers_of(self.model))
        for target in targets:
            target.check_values(self._steps())
        self._scheduled = ScheduledFit(self.model, targets)

    def on_train_end(self, logs: Logs = None) -> None:
        if self._scheduled is not None:
            self._scheduled.end()

    def _steps(self):
        epochs, steps = (self.params or {}).get("epochs"), (self.params or {}).get("steps")
        return epochs * steps if epochs and steps else None


@keras.saving.register_keras_serializable(package="keras_cyclic")
class HyperparameterSchedule(_HyperparameterCallback):
    """Drives a hyperparameter of the optimizer by a schedule, inside the compiled step.

    ```
    optimizer.<name> = schedule(t)
    ```

    at each step `t` of the optimizer, counted as for a learning rate: with
    `gradient_accumulation_steps`, by batches.

    It drives every float that the optimizer's update computes with: `momentum`, `beta_1`,
    `beta_2`, `rho`, `epsilon`, `weight_decay`, `clipnorm`, `global_clipnorm`, `clipvalue`,
    `ema_momentum` and more; `docs/hyperparameters.md` has the table for all optimizers of Keras.
    Under a `LossScaleOptimizer` it drives the inner optimizer, in a `MultiOptimizer` each group
    that has the hyperparameter.

    During `fit`, `model.optimizer.<name>` is the current value, a float. In `get_config`, in a
    saved model and after `fit`, it is the float that the optimizer was built with. The train
    step is traced anew at the start of each `fit` with this callback.

    Args:
        name: The name of the hyperparameter, as the optimizer's constructor has it.
        schedule: A `LearningRateSchedule`, of `keras_cyclic` or of Keras, that gives its values.

    Raises:
        TypeError: If `name` is not a string or `schedule` not a schedule.
        ValueError: At the start of `fit`, if the optimizer has no such hyperparameter, its update
            does not use it, the schedule leaves the values that it allows (as many steps of
            this `fit` as can be looked at quickly are), or something else schedules it too.

    Example:

    >>> import keras, numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.AdamW(0.001, weight_decay=0.01), "mse")
    >>> decay = kc.schedules.CosineAnnealing(0.01, decay_steps=8)
    >>> seen = []
    >>> see = keras.callbacks.LambdaCallback(
    ...     on_train_batch_begin=lambda batch, logs: seen.append(model.optimizer.weight_decay)
    ... )
    >>> schedule = kc.callbacks.HyperparameterSchedule("weight_decay", decay)
    >>> x, y = np.ones((8, 4)), np.ones((8, 1))
    >>> history = model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[schedule, see])
    >>> [round(value, 4) for value in seen]
    [0.01, 0.0096, 0.0085, 0.0069, 0.005, 0.0031, 0.0015, 0.0004]
    >>> model.optimizer.weight_decay
    0.01
    """

    def __init__(self, name: str, schedule: KerasSchedule) -> None:
        super().__init__()
        if not isinstance(name, str):
            raise TypeError(
                "Argument `name` must be the name of a hyperparameter of the optimizer. "
                f"Received: name={_arguments.shown(name)} of type {type(name).__name__}"
            )
        self.name = name
        self.schedule = check_schedule("schedule", schedule)

    def targets(self, optimizers: list[Any]) -> list[Target]:
        have_it = [o for o in optimizers if self.name in vars(o)] or optimizers
        if self.name == "loss_scale_factor" and optimizers != [self.model.optimizer]:
            raise ValueError(
                "`loss_scale_factor` cannot be scheduled in a LossScaleOptimizer or a "
                "MultiOptimizer, which scales the loss by a factor of its own. "
                f"Received: name={self.name!r}"
            )
        return [Target(o, self.name, self._value, describe(self.schedule)) for o in have_it]

    def _value(self, step):
        return evaluate(self.schedule, step)


@keras.saving.register_keras_serializable(package="keras_cyclic")
class CyclicalMomentum(_HyperparameterCallback):
    """Cycles the momentum against the learning rate: it is lowest when the rate peaks.

    ```
    momentum = max_momentum - (max_momentum - base_momentum) * height(t)
    ```

    where `height` is how high the learning rate's wave stands between its bounds at step `t`,
    from 0 to 1: what PyTorch's `CyclicLR` and `OneCycleLR` do with `cycle_momentum`. An amplitude
    that shrinks from cycle to cycle (`Triangular2`, `ExpRange`) shrinks for the momentum too, and
    in the last of three phases of `OneCycle` the momentum stays at `max_momentum`.

    The momentum is the optimizer's `momentum` if it has one (SGD, RMSprop, Muon), else its
    `beta_1` (Adam and its relatives, Lion). It changes inside the compiled step, at every step;
    see `HyperparameterSchedule` for what that means and for how it can be read.

    Args:
        base_momentum: The momentum when the learning rate is at its peak. Defaults to `0.85`.
        max_momentum: The momentum when the learning rate is at its lowest. Defaults to `0.95`.
        schedule: The wave to follow, one of `keras_cyclic.schedules` that moves between two
            bounds, or such a wave times a number. Defaults to the optimizer's own schedule.

    Raises:
        TypeError: If a momentum is not a number, or `schedule` not a schedule.
        ValueError: If a momentum is negative or not below 1, `base_momentum` is above
            `max_momentum`, or `schedule` is no wave; at the start of `fit`, if the optimizer's
            own schedule is no wave, the optimizer has neither `momentum` nor `beta_1`, or it was
            built with a momentum of 0.

    Example:

    >>> import keras, numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> rate = kc.schedules.Triangular(base_lr=0.01, max_lr=0.1, step_size=4)
    >>> model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    >>> seen = []
    >>> see = keras.callbacks.LambdaCallback(
    ...     on_train_batch_begin=lambda batch, logs: seen.append(model.optimizer.momentum)
    ... )
    >>> x, y = np.ones((8, 4)), np.ones((8, 1))
    >>> history = model.fit(
    ...     x, y, batch_size=1, verbose=0, callbacks=[kc.callbacks.CyclicalMomentum(), see]
    ... )
    >>> [round(momentum, 3) for momentum in seen]
    [0.95, 0.925, 0.9, 0.875, 0.85, 0.875, 0.9, 0.925]

    Reference:

    - [Smith and Topin, 2018](https://arxiv.org/abs/1708.07120)
    - [Smith, 2018](https://arxiv.org/abs/1803.09820)
    """

    def __init__(
        self,
        base_momentum: Real = 0.85,
        max_momentum: Real = 0.95,
        schedule: KerasSchedule | None = None,
    ) -> None:
        super().__init__()
        self.base_momentum, self.max_momentum = _arguments.momenta(base_momentum, max_momentum)
        self.schedule = schedule
        if schedule is not None and wave_of(check_schedule("schedule", schedule)) is None:
            raise ValueError(f"Argument `schedule` must be {_WAVE}. Received: schedule={schedule}")

    def targets(self, optimizers: list[Any]) -> list[Target]:
        return [self._target(optimizer) for optimizer in optimizers]

    def _target(self, optimizer):
        name = _momentum_name(optimizer)
        if name is None:
            raise ValueError(
                f"{optimizer.__class__.__name__} has no momentum to cycle, neither `momentum` nor "
                "`beta_1`. Train with an optimizer that has one, as SGD(momentum=0.9) or Adam."
            )
        schedule = optimizer._learning_rate if self.schedule is None else self.schedule
        wave = wave_of(schedule)
        if wave is None:
            raise ValueError(
                f"The learning rate of {optimizer.__class__.__name__} is no wave that the momentum "
                "could follow. Pass CyclicalMomentum(schedule=...) the wave to follow, which must "
                f"be {_WAVE}. Received: learning_rate="
                f"{describe(schedule) if isinstance(schedule, KerasSchedule) else schedule}"
            )

        def value(step):
            return against(wave.height(step), self.base_momentum, self.max_momentum)

        return Target(optimizer, name, value, repr(self))


def why_no_momentum(optimizer):
    """Why the momentum of an optimizer cannot be cycled, or None if it can.

    Args:
        optimizer: An optimizer that is no wrapper.
    """
    name = _momentum_name(optimizer)
    if name is None:
        return "it has neither `momentum` nor `beta_1`"
    return refusal(optimizer, name)


def _momentum_name(optimizer):
    return next((name for name in ("momentum", "beta_1") if name in vars(optimizer)), None)


_WAVE = (
    "one of the schedules of `keras_cyclic.schedules` that move between two bounds (Cyclical, "
    "Triangular, Triangular2, ExpRange, OneCycle, CosineAnnealingWarmRestarts, Decay and its "
    "relatives), or one times a number; to give the momentum a course of its own, use "
    "HyperparameterSchedule"
)
