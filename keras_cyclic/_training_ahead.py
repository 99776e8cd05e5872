"""What a schedule sees of the training ahead, from inside the first step of a `fit`.

A schedule is given a step and no more. But while `fit` makes its first step, or traces it, its loop
is on the stack, and knows how many epochs there will be and which callbacks run. Nothing of this
is in the compiled step.
"""

import collections.abc
import dataclasses
import warnings
import weakref

import keras

from keras_cyclic._fit import fit_loop
from keras_cyclic._readings import bring_up_to_date, steps_made
from keras_cyclic._wrapped_optimizers import real_optimizers

# What is off by more than this share of the cycle, or of the training, is no matter of rounding.
_TOLERANCE = 0.1

# The `CallbackList` of the `fit` that each schedule has looked at last: there is one for each.
_looked_at: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_warned: weakref.WeakSet = weakref.WeakSet()
# The lengths that a `fit` has been warned of: the groups of a MultiOptimizer have copies of one.
_lengths_warned_of: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def look_ahead(schedule, step):
    """Refuses callbacks that cannot work with a schedule, and warns of a cycle of a wrong length.

    Does nothing but in the first step of a `fit`, for the schedule that an optimizer follows.

    Args:
        schedule: One of the schedules of `keras_cyclic`, which is being called.
        step: What it is called with.

    Raises:
        ValueError: If a callback of this `fit` would set the learning rate, which Keras refuses
            where a schedule gives it.
    """
    if not isinstance(step, keras.Variable) or not isinstance(schedule, collections.abc.Hashable):
        return
    looked_at = _looked_at.get(schedule)
    if looked_at is not None and looked_at() is not None:
        return
    fit = fit_loop(lambda model: _optimizer_with(schedule, step, _optimizers_of(model)))
    optimizer = fit and _optimizer_with(schedule, step, fit.callees)
    if optimizer is None:
        return
    _refuse_setters(schedule, optimizer, fit.variables)
    if any(isinstance(callee, keras.callbacks.Callback) for callee in fit.callees):
        # It only reads the rate, at any time.
        return
    _looked_at[schedule] = weakref.ref(fit.variables["callbacks"])
    found = schedule.one_cycle()
    if found is not None and found[0] not in _warned:
        _compare(_Cycle(*found), optimizer, fit)


def _optimizer_with(schedule, step, objects):
    """The optimizer among the objects that follows the schedule with that counter of steps."""
    for each in objects:
        if (
            isinstance(each, keras.optimizers.Optimizer)
            and vars(each).get("_learning_rate") is schedule
            and vars(each).get("_iterations") is step
        ):
            return each
    return None


_INSTEAD = {
    keras.callbacks.ReduceLROnPlateau: (
        "Use `keras_cyclic.callbacks.ReduceLROnPlateau`, which takes the same arguments and lowers "
        "the rates of a schedule"
    ),
    keras.callbacks.LearningRateScheduler: (
        "Leave it out, and put what it does into the schedule (with `Sequential`, `Warmup`, "
        "`Sampled` or `*` of `keras_cyclic.schedules`), or build the optimizer with a float"
    ),
}


def _refuse_setters(schedule, optimizer, loop):
    """Raises before the first step what Keras would raise once the callback sets the rate."""
    if not any(optimizer is each for each in _optimizers_of(loop.get("self"))):
        return
    for callback in loop["callbacks"].callbacks:
        # A class derived from one of these may know what to do with a schedule.
        if type(callback) in _INSTEAD:
            name = type(callback).__name__
            raise ValueError(
                f"The callback `keras.callbacks.{name}` sets the learning rate of the optimizer, "
                f"which is not possible where a schedule gives it. {_INSTEAD[type(callback)]}. "
                f"Received: learning_rate={schedule!r} and {name} in `callbacks`"
            )


def _optimizers_of(model):
    optimizer = getattr(model, "optimizer", None)
    return [] if optimizer is None else real_optimizers(optimizer)


def _compare(cycle, optimizer, fit):
    """Warns if the cycle does not end with the training, now or when its length is known."""
    loop = fit.variables
    epochs, epoch, callbacks = loop["epochs"], loop.get("epoch"), loop["callbacks"]
    if not isinstance(epochs, int) or not isinstance(epoch, int):
        return
    start = _steps_made(optimizer, loop)
    if start is None:
        return
    line, said = fit.line, _lengths_warned_of.setdefault(callbacks, set())
    steps = getattr(loop.get("epoch_iterator"), "num_batches", None)
    if _makes_one_step_a_batch(optimizer, loop):
        # Where nothing is compiled, batches that only add up gradients do not ask for the rate.
        start -= loop.get("begin_step", 0)
        if steps:
            cycle.compare(start, epochs - epoch, steps, line, said)
            return

    def compare(steps):
        cycle.compare(start, epochs - epoch, steps, line, said)

    if epoch + 1 < epochs:
        waiting = _FirstEpoch(optimizer, start, compare)
        waiting.set_model(loop.get("self"))
        callbacks.callbacks.append(waiting)


def _makes_one_step_a_batch(optimizer, loop):
    model = loop.get("self")
    return (
        isinstance(model, keras.Model)
        and type(model).train_step is keras.Model.train_step
        and any(optimizer is each for each in _optimizers_of(model))
    )


class _FirstEpoch(keras.callbacks.Callback):
    """Waits for the first epoch to tell how many steps an epoch has."""

    def __init__(self, optimizer, start, compare):
        super().__init__()
        self._optimizer = optimizer
        self._start = start
        self._compare = compare

    def on_epoch_end(self, epoch, logs=None):
        if self._compare is not None:
            bring_up_to_date(self.model)
            self._compare(steps_made(self._optimizer) - self._start)
            self._compare = None


def _steps_made(optimizer, loop):
    """The optimizer's step as a Python int, also while the step is traced; None if out of reach."""
    backend = keras.backend.backend()
    if backend == "jax":
        # The variables hold tracers now, and the loop the state that it gives to the step.
        outer = getattr(loop.get("self"), "optimizer", None)
        variables = getattr(outer, "variables", ())
        places = [i for i, each in enumerate(variables) if each is optimizer._iterations]
        state = loop.get("state")
        if not places or not isinstance(state, tuple) or len(state) != 4:
            return None
        return int(state[2][places[0]])
    if backend != "tensorflow":
        return steps_made(optimizer)
    import tensorflow as tf

    with tf.init_scope():
        return steps_made(optimizer) if tf.executing_eagerly() else None


@dataclasses.dataclass(frozen=True)
class _Cycle:
    """A `OneCycle`, and the step at which it begins."""

    schedule: object
    begin: int

    def compare(self, start, epochs, steps, line, said):
        """Warns, once for a schedule, if it ends long before or after a training.

        Args:
            start: The optimizer's step at the start of the training.
            epochs: Its epochs.
            steps: The steps of each.
            line: Where the warning is to point, a pair of a file's name and a line.
            said: The cycles, as they begin and are long, that this training was warned of.
        """
        total_steps = self.schedule.total_steps
        end, training_end = self.begin + total_steps, start + epochs * steps
        too_early = training_end - end > _TOLERANCE * (training_end - start)
        too_late = end - training_end > _TOLERANCE * total_steps
        if not (too_early or too_late):
            return
        _warned.add(self.schedule)
        if (self.begin, total_steps) in said:
            return
        said.add((self.begin, total_steps))
        advice = (
            "Lengths are in optimizer steps, epochs times batches per epoch: make it "
            f"total_steps={training_end - self.begin}"
        )
        if end <= start:
            what = "all of it at the lowest rate"
            advice = (
                "For a new cycle, compile the model with a new optimizer, or use "
                "`keras_cyclic.fit_one_cycle`, whose cycle begins where the optimizer stands"
            )
        elif too_early:
            what = f"its last {training_end - end} steps at the lowest rate"
        else:
            what = "and stops before the rate has come down"
            advice += ", unless further calls of `fit` are to go through the rest of it"
        place = f" begins at step {self.begin} and" if self.begin else ""
        warnings.warn_explicit(
            f"{self.schedule!r}{place} ends at step {end}, but this training of {epochs} epochs "
            f"of {steps} steps goes from step {start} to step {training_end}, {what}. {advice}.",
            UserWarning,
            *line,
        )
