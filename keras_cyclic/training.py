"""Training with the 1cycle policy in one line."""

import inspect
import itertools
import types
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras.src.trainers.data_adapters.array_slicing import train_validation_split

from keras_cyclic import _arguments
from keras_cyclic._scheduled_optimizer import describe
from keras_cyclic._step_count import StepCount
from keras_cyclic._training_state import Attributes
from keras_cyclic._types import Integer, Real
from keras_cyclic._wrapped_optimizers import rate_ratios
from keras_cyclic.callbacks._one_cycle import Cycle, CycledMomentum
from keras_cyclic.callbacks.momentum import CyclicalMomentum, why_no_momentum
from keras_cyclic.callbacks.monitor import LearningRateMonitor
from keras_cyclic.callbacks.range_test import LRRangeTest, check_model
from keras_cyclic.hyperparameters import real_optimizers_of
from keras_cyclic.profiles import ProfileLike
from keras_cyclic.range_test import lr_range_test
from keras_cyclic.schedules.one_cycle import OneCycle

_RANGE_TEST_STEPS = 100


def fit_one_cycle(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    epochs: Integer,
    max_lr: Real | None = None,
    pct_start: Real = 0.3,
    div_factor: Real = 25.0,
    final_div_factor: Real = 1e4,
    profile: ProfileLike | tuple[ProfileLike, ProfileLike] | list[ProfileLike] = "cosine",
    three_phase: bool = False,
    cycle_momentum: bool = True,
    base_momentum: Real = 0.85,
    max_momentum: Real = 0.95,
    batch_size: int | None = None,
    verbose: Literal["auto"] | int = "auto",
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None = None,
    validation_split: Real = 0.0,
    validation_data: Any = None,
    sample_weight: Any = None,
    initial_epoch: Integer = 0,
    steps_per_epoch: int | None = None,
    **fit_arguments: Any,
) -> keras.callbacks.History:
    """Trains a model with the 1cycle policy: `model.fit` with one cycle over all of its steps.

    ```
    total_steps   = (epochs - initial_epoch) * steps in an epoch
    learning rate = OneCycle(max_lr, total_steps, ...)(t)
    momentum      = max_momentum - (max_momentum - base_momentum) * height(t)
    ```

    at each step `t` of this call, inside the compiled step; see `keras_cyclic.schedules.OneCycle`
    and `keras_cyclic.callbacks.CyclicalMomentum`. After it, also after an error or an interrupt,
    the optimizer has the learning rate and the momentum that it had before, be that a number,
    a schedule or a function. A second call trains on with a cycle of its own.

    The steps are counted as Keras's `fit` makes them: batches, also where the optimizer
    accumulates the gradients of several. Data that does not say how many batches it has (a
    `tf.data.Dataset` after `filter`, for one) is gone through once to count them, and has so many
    in each epoch; where it can be read only once, give `steps_per_epoch`. A generator or endless
    data needs it. Should the training take fewer steps (a callback that stops it, a
    `LossScaleOptimizer` that skips some), the cycle is not finished.

    What is saved during the call, as by `ModelCheckpoint`, has the optimizer's own learning
    rate. To go on after a crash in the middle of the cycle, make the same call, `max_lr`
    included, with a `BackupAndRestore` among its callbacks.

    The groups of a `MultiOptimizer` keep the ratios of their rates: `max_lr` is that of the group
    with the highest.

    Args:
        model: A compiled `keras.Model`.
        x: The inputs, anything that `fit` takes.
        y: The targets, as in `fit`. Defaults to `None`.
        epochs: The epoch at whose end the training is over, as in `fit`.
        max_lr: The learning rate at the peak. Defaults to `None`: the `max_lr` of
            `keras_cyclic.lr_range_test(...).bounds()` on the same data. It is printed, and the
            model is put back as it was after the test.
        pct_start: The share of the steps spent rising. Defaults to `0.3`.
        div_factor: How many times lower than `max_lr` the training starts. Defaults to `25.0`.
        final_div_factor: How many times lower than its start it ends. Defaults to `1e4`.
        profile: The shape of the moves: anything that `keras_cyclic.profiles.get` takes, or a
            pair, `(up, down)`. Defaults to `"cosine"`.
        three_phase: Whether to come down as fast as up, and then sink below the start in a phase
            of its own. Defaults to `False`.
        cycle_momentum: Whether to cycle the momentum, `momentum` or `beta_1`. An optimizer
            without one, as `SGD(momentum=0.0)`, trains without, and a line says so. Defaults to
            `True`.
        base_momentum: The momentum when the learning rate is at its peak. Defaults to `0.85`.
        max_momentum: The momentum when the learning rate is at its lowest. Defaults to `0.95`.
        batch_size: As in `fit`. Defaults to `None`.
        verbose: As in `fit`; 0 also silences the lines that this function prints. Defaults to
            `"auto"`.
        callbacks: As in `fit`. Defaults to `None`.
        validation_split: As in `fit`; these samples are in no step, nor in the range test.
            Defaults to `0.0`.
        validation_data: As in `fit`. Defaults to `None`.
        sample_weight: As in `fit`. Defaults to `None`.
        initial_epoch: As in `fit`; the cycle is as long as the epochs from there. Defaults to
            `0`.
        steps_per_epoch: As in `fit`. Defaults to `None`.
        **fit_arguments: Any other argument of the model's `fit`.

    Returns:
        The `History` of `fit`, in which `learning_rate` and `momentum` or `beta_1` are those that
        the optimizer has at the end of each epoch; with several optimizers, each under
        `learning_rate_<name of the optimizer>` and so on.

    Raises:
        ValueError: If an argument is out of its range, the data is empty, or endless without
            `steps_per_epoch`, the range test finds no rate, or the model is not compiled.
        TypeError: If an argument is of the wrong type, or `fit` has none of that name.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    >>> x = np.random.normal(size=(256, 4))
    >>> history = kc.fit_one_cycle(
    ...     model, x, x.sum(axis=1), epochs=3, max_lr=0.1, verbose=0
    ... )
    >>> [round(momentum, 3) for momentum in history.history["momentum"]]
    [0.853, 0.913, 0.95]
    >>> round(float(model.optimizer.learning_rate), 6)
    0.01

    References:

    - [Smith and Topin, 2018](https://arxiv.org/abs/1708.07120)
    - [Smith, 2018](https://arxiv.org/abs/1803.09820)
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            "Argument `model` must be a compiled `keras.Model`. "
            f"Received: model={_arguments.shown(model)} of type {type(model).__name__}"
        )
    optimizers = real_optimizers_of(model)
    epochs, initial_epoch = _epochs(model, epochs, initial_epoch)
    cycle_options: dict[str, Any] = {
        "pct_start": pct_start,
        "div_factor": div_factor,
        "final_div_factor": final_div_factor,
        "profile": profile,
        "three_phase": three_phase,
    }
    # All arguments are checked before the first batch, also those that the range test precedes.
    OneCycle(1.0, 1, **cycle_options)
    if max_lr is not None:
        max_lr = _arguments.positive("max_lr", max_lr)
    momentum = CycledMomentum(base_momentum, max_momentum)
    cycle_momentum = _arguments.boolean("cycle_momentum", cycle_momentum)
    callbacks = _callbacks(callbacks, cycle_momentum)
    _check_names(model, fit_arguments)
    validation_split = _arguments.between("validation_split", validation_split, 0, 1)
    if validation_split and validation_data is None:
        # As `fit` does, so that neither the count nor the range test sees these samples.
        (x, y, sample_weight), validation_data = train_validation_split(
            (x, y, sample_weight), validation_split=validation_split
        )
    steps = StepCount(model, x, y, sample_weight, batch_size, steps_per_epoch)
    x = steps.x
    total_steps = steps.in_epochs(epochs - initial_epoch)
    if total_steps * pct_start < 2:
        warnings.warn(
            f"The cycle has {total_steps} steps, too few to rise in: with "
            f"pct_start={pct_start} it begins at its peak. Train for more epochs or with smaller "
            "batches.",
            stacklevel=2,
        )
    if max_lr is None:
        check_model(model)
        if isinstance(x, types.GeneratorType):
            first = list(itertools.islice(x, min(_RANGE_TEST_STEPS, total_steps)))
            tested, x = _generator(first), _generator(first, x)
        else:
            tested = x
        max_lr = _tested_rate(
            model,
            tested,
            y,
            batch_size=steps.batch_size,
            sample_weight=sample_weight,
            **{name: fit_arguments[name] for name in _DATA_ARGUMENTS if name in fit_arguments},
        )
        _say(f"fit_one_cycle: the range test chose max_lr={max_lr:.3g}", verbose)
    if cycle_momentum:
        for optimizer in optimizers:
            reason = why_no_momentum(optimizer)
            if reason is not None:
                _say(
                    f"fit_one_cycle: {describe(optimizer)} has no momentum cycle: {reason}", verbose
                )
    waves = [
        OneCycle(max_lr * ratio, total_steps, **cycle_options) for ratio in rate_ratios(optimizers)
    ]
    cycle = Cycle(model, optimizers, waves, steps, initial_epoch)
    before = Attributes(model, ["_initial_epoch"])
    try:
        cycle.begin()
        return model.fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=[
                LearningRateMonitor(),
                *callbacks,
                cycle,
                *([momentum] if cycle_momentum else []),
            ],
            validation_data=validation_data,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            **fit_arguments,
        )
    finally:
        # After an error or an interrupt, `fit` has not told it that it is over.
        momentum.on_train_end()
        cycle.end()
        # Where `BackupAndRestore` has left it, the next `fit` would begin in the middle, too.
        before.restore()


_DATA_ARGUMENTS = ("shuffle", "class_weight")


def _tested_rate(model, x, y, **data_arguments):
    result = lr_range_test(model, x, y, steps=_RANGE_TEST_STEPS, verbose=0, **data_arguments)
    try:
        return result.bounds()[1]
    except ValueError as error:
        raise ValueError(
            "The range test found no learning rate for `max_lr`. Give `max_lr`, or look at "
            f"`keras_cyclic.lr_range_test`. Received: max_lr=None. {error}"
        ) from error


def _generator(*iterables):
    """A generator, which is what Keras takes, over all of them."""
    yield from itertools.chain(*iterables)


def _epochs(model, epochs, initial_epoch):
    epochs = _arguments.length("epochs", epochs, "a positive whole number of epochs")
    # Keras's own limit, for trying a program out.
    epochs = min(epochs, keras.config.max_epochs() or epochs)
    if initial_epoch != 0:
        initial_epoch = _arguments.length(
            "initial_epoch", initial_epoch, "a whole number of epochs, 0 or more"
        )
    # A `fit` that was resumed from a backup leaves this, and the next one begins there.
    initial_epoch = getattr(model, "_initial_epoch", None) or initial_epoch
    if initial_epoch >= epochs:
        raise ValueError(
            "Argument `initial_epoch` must be below `epochs`, or there is nothing to train. "
            f"Received: initial_epoch={initial_epoch}, epochs={epochs}"
        )
    return epochs, initial_epoch


def _callbacks(callbacks, cycle_momentum):
    """The callbacks as a list."""
    callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback) or isinstance(
            callback, keras.callbacks.CallbackList
        ):
            raise TypeError(
                "Argument `callbacks` must be a list of `keras.callbacks.Callback`. "
                f"Received: {_arguments.shown(callback)} of type {type(callback).__name__}"
            )
        if isinstance(callback, LRRangeTest):
            raise ValueError(
                "Argument `callbacks` must hold no `LRRangeTest`, which would end the training "
                "and put the model back. With max_lr=None, `fit_one_cycle` runs a range test "
                f"before it. Received: {_arguments.shown(callback)}"
            )
        if cycle_momentum and isinstance(callback, CyclicalMomentum):
            raise ValueError(
                "Argument `callbacks` must hold no `CyclicalMomentum`: `fit_one_cycle` has one "
                "of its own, with `base_momentum` and `max_momentum`. To use another, pass "
                f"cycle_momentum=False. Received: {_arguments.shown(callback)}"
            )
    return callbacks


def _check_names(model, fit_arguments):
    parameters = inspect.signature(model.fit).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return
    for name, value in fit_arguments.items():
        if name not in parameters:
            raise TypeError(
                f"Argument `{name}` must be one of `fit_one_cycle` or of the model's `fit`, which "
                f"takes {', '.join(parameters)}. Received: {name}={_arguments.shown(value)}"
            )


def _say(line, verbose):
    if verbose != 0:
        print(line, flush=True)
