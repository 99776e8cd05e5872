"""What `fit_one_cycle` runs inside `fit`."""

import keras

from keras_cyclic._borrowed_learning_rates import BorrowedLearningRates
from keras_cyclic._readings import steps_made
from keras_cyclic.callbacks.momentum import CyclicalMomentum, why_no_momentum
from keras_cyclic.schedules.delayed import Delayed
from keras_cyclic.schedules.schedule import with_parts


class Cycle(keras.callbacks.Callback):
    """Has the optimizers follow their waves from now, or from where a backup was made.

    Args:
        model: The model that trains.
        optimizers: A list of its optimizers that are no wrappers.
        waves: The wave that each of them follows, from its step 0.
        steps: The `StepCount` of this `fit`.
        initial_epoch: The epoch that the waves begin with.
    """

    def __init__(self, model, optimizers, waves, steps, initial_epoch):
        super().__init__()
        self._optimizers = optimizers
        self._waves = waves
        self._steps = steps
        self._initial_epoch = initial_epoch
        self._rates = BorrowedLearningRates(model, optimizers)
        self._starts = None
        self._placed = None

    def begin(self):
        """Gives the optimizers their waves, before `fit` begins."""
        self._begin_at([steps_made(optimizer) for optimizer in self._optimizers])

    def on_train_begin(self, logs=None):
        # The callbacks before this one may have loaded a backup of this training.
        resumed_at = getattr(self.model, "_initial_epoch", None) or self._initial_epoch
        done = self._steps.in_epochs(resumed_at - self._initial_epoch)
        starts = [max(steps_made(each) - done, 0) for each in self._optimizers]
        if starts != self._starts:
            self._begin_at(starts)
            # `fit` has already asked for its function.
            self.model.make_train_function(force=True)

    def _begin_at(self, starts):
        before, self._starts = self._placed, starts
        placed = [Delayed(wave, n) if n else wave for wave, n in zip(self._waves, starts)]
        self._placed = placed
        if before is not None:
            # What a callback has made of a wave, `Scaled` for one, it keeps.
            placed = [
                _with_wave_replaced(each._learning_rate, old, new)
                for each, old, new in zip(self._optimizers, before, placed)
            ]
        self._rates.replace(placed)

    def end(self):
        """Gives the optimizers their own learning rates back."""
        self._rates.give_back()


def _with_wave_replaced(rate, old, new):
    return with_parts(rate, lambda part: new if part is old else None)


class CycledMomentum(CyclicalMomentum):
    """Leaves optimizers that have no momentum as they are."""

    def targets(self, optimizers):
        return super().targets([each for each in optimizers if why_no_momentum(each) is None])
