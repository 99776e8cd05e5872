"""The learning rate and the scheduled hyperparameters at each step of one `fit`."""

import numpy as np

from keras_cyclic._readings import bring_up_to_date, learning_rate_now, steps_made
from keras_cyclic._wrapped_optimizers import suffixed_optimizers, unscaled
from keras_cyclic.hyperparameters import scheduled, scheduled_at
from keras_cyclic.schedules.adjustable import adjustments
from keras_cyclic.schedules.schedule import KerasSchedule, rates


def current_values(model):
    """The rates and scheduled hyperparameters at the optimizer's step, a dict of floats."""
    bring_up_to_date(model)
    values = {}
    for suffix, optimizer in suffixed_optimizers(model.optimizer):
        values[f"learning_rate{suffix}"] = learning_rate_now(optimizer)
        values |= {f"{name}{suffix}": value for name, value in scheduled(optimizer).items()}
    return values


class RatesByStep:
    """Records the values of each step, from what few numbers an execution leaves behind.

    After each execution it reads the optimizer's step and such rates as follow from nothing (a
    plain number, a function without arguments). What follows from a schedule is looked up in a
    table of the steps to come, computed all at once.

    Args:
        model: The model, in a `fit` that begins.
    """

    def __init__(self, model):
        self._model = model
        self._optimizer = unscaled(model.optimizer)
        self._parts = []
        self._parts_of_epoch = []
        self.begin_epoch(None)

    def begin_epoch(self, length):
        """Has to be called before an epoch's first step.

        Args:
            length: How many steps the epoch will have, or None if that is not known.
        """
        self._length = min(length or 1024, 2**14)
        # What callbacks did to a schedule between the epochs makes the table wrong.
        self._table = None
        self._steps_done = self._count()

    def record(self):
        """Records the steps that were taken since the last time.

        Returns:
            The values of the last one, a dict of floats. Where a `LossScaleOptimizer` skipped
            all of them, those of the step that is to come.
        """
        begin, self._steps_done = self._steps_done, self._count()
        steps = np.arange(begin, self._steps_done)
        if len(steps) == 0:
            return _last(self._values(np.array([self._steps_done])))
        values = self._values(steps)
        self._parts_of_epoch.append({"step": steps, **values})
        return _last(values)

    def end_epoch(self):
        """The steps and values of the epoch, a dict of NumPy arrays, empty if it had none."""
        epoch = _joined(self._parts_of_epoch)
        self._parts_of_epoch = []
        if epoch:
            self._parts.append(epoch)
        return epoch

    def all(self):
        """The steps and values recorded so far, a dict of NumPy arrays."""
        return _joined(self._parts + self._parts_of_epoch)

    def _count(self):
        bring_up_to_date(self._model)
        return steps_made(self._optimizer)

    def _values(self, steps):
        optimizers = suffixed_optimizers(self._optimizer)
        if self._table is None or not self._table.holds(steps, optimizers):
            until = steps[0] + max(len(steps), self._length)
            self._table = _Table(self._optimizer, optimizers, np.arange(steps[0], until))
        values = {}
        for suffix, optimizer in optimizers:
            if not isinstance(optimizer._learning_rate, KerasSchedule):
                values[f"learning_rate{suffix}"] = np.full(len(steps), learning_rate_now(optimizer))
        return values | self._table.look_up(steps)


class _Table:
    """The values that follow from the step, at consecutive steps.

    Args:
        whole: The optimizer that the steps are counted by, a `MultiOptimizer` or the only one.
        optimizers: Its groups, as from `suffixed_optimizers`.
        steps: A NumPy array of consecutive steps.
    """

    def __init__(self, whole, optimizers, steps):
        self._steps = steps
        self._sources = _sources(optimizers)
        self._columns = {}
        for suffix, optimizer in optimizers:
            # A group that has been trained before counts on from there.
            own_steps = steps + (steps_made(optimizer) - steps_made(whole))
            if isinstance(optimizer._learning_rate, KerasSchedule):
                rate = rates(optimizer._learning_rate, own_steps)
                self._columns[f"learning_rate{suffix}"] = rate
            for name, values in scheduled_at(optimizer, own_steps).items():
                self._columns[f"{name}{suffix}"] = values

    def holds(self, steps, optimizers):
        return (
            _sources(optimizers) == self._sources
            and self._steps[0] <= steps[0]
            and steps[-1] <= self._steps[-1]
        )

    def look_up(self, steps):
        begin = steps[0] - self._steps[0]
        where = slice(begin, begin + len(steps))
        return {name: column[where] for name, column in self._columns.items()}


def _sources(optimizers):
    """What the values follow from: the same schedules, which no callback has adjusted."""
    rates = [optimizer._learning_rate for _, optimizer in optimizers]
    return [(id(rate), adjustments(rate)) for rate in rates]


def _last(values):
    return {name: float(column[-1]) for name, column in values.items()}


def _joined(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts or [{}])[0]}
