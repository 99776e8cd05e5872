"""Schedules that optimizers follow for the length of one `fit`."""

import functools


class BorrowedLearningRates:
    """Gives optimizers schedules for a while, and their own learning rates back after it.

    The variable of a rate that is a plain number stays among the optimizer's variables, and
    `get_config` gives the optimizer's own rate: what is saved in the meantime loads like what is
    saved before and after.

    Args:
        model: The model that trains.
        optimizers: A list of its optimizers that are no wrappers.
    """

    def __init__(self, model, optimizers):
        self._model = model
        self._optimizers = optimizers
        # The optimizer's own `learning_rate` cannot be set back to a number, and its setter takes
        # the variable out of a list from which TensorFlow's checkpoints allow nothing to be taken.
        self._own = [vars(optimizer)["_learning_rate"] for optimizer in optimizers]

    def replace(self, schedules):
        """Makes each optimizer follow its schedule, from the next trace of the train step on.

        Args:
            schedules: One for each optimizer.
        """
        for optimizer, schedule, own in zip(self._optimizers, schedules, self._own):
            vars(optimizer)["_learning_rate"] = schedule
            vars(optimizer)["get_config"] = functools.partial(_config_with, optimizer, own)
        # A traced step keeps the rate that it was traced with.
        self._model.train_function = None

    def give_back(self):
        """Makes all as it was."""
        for optimizer, own in zip(self._optimizers, self._own):
            vars(optimizer)["_learning_rate"] = own
            vars(optimizer).pop("get_config", None)
        self._model.train_function = None


def own_learning_rate(optimizer):
    """The learning rate of an optimizer; while it follows a borrowed one, that which it gets back.

    Args:
        optimizer: An optimizer that is no wrapper.
    """
    get_config = vars(optimizer).get("get_config")
    is_borrowing = isinstance(get_config, functools.partial) and get_config.func is _config_with
    return get_config.args[1] if is_borrowing else optimizer._learning_rate


def _config_with(optimizer, learning_rate):
    """The configuration of an optimizer, as if it had that learning rate."""
    attributes = vars(optimizer)
    present = attributes["_learning_rate"]
    attributes["_learning_rate"] = learning_rate
    try:
        # The class of the optimizer may change while its momentum is cycled.
        return type(optimizer).get_config(optimizer)
    finally:
        attributes["_learning_rate"] = present
