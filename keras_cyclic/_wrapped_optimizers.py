"""Optimizers inside optimizers: Keras's `LossScaleOptimizer` and `MultiOptimizer`."""

import keras
import numpy as np

from keras_cyclic._readings import learning_rate_now, steps_made


def wrapped_optimizers(optimizer):
    """An optimizer and all those inside it, outermost first."""
    inner = list(getattr(optimizer, "optimizers", ()))
    if hasattr(optimizer, "inner_optimizer"):
        inner.append(optimizer.inner_optimizer)
    return [optimizer] + [deeper for item in inner for deeper in wrapped_optimizers(item)]


def real_optimizers(optimizer):
    """The optimizers that update weights, under the wrappers that Keras has.

    Args:
        optimizer: Any optimizer, a `LossScaleOptimizer` and a `MultiOptimizer` among them.

    Returns:
        A list of optimizers that are no wrappers. The groups of a built `MultiOptimizer` that
        have no weights to update are left out.
    """
    return [each for _, each in suffixed_optimizers(optimizer)]


def unscaled(optimizer):
    """The optimizer under a `LossScaleOptimizer`, or the optimizer itself."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def suffixed_optimizers(optimizer):
    """The optimizers that update weights, each with what tells its values from the others'.

    As `all_suffixed_optimizers`, without the groups of a built `MultiOptimizer` that have no
    weights to update.
    """
    is_built = unscaled(optimizer).built
    return [pair for pair in all_suffixed_optimizers(optimizer) if pair[1].built or not is_built]


def all_suffixed_optimizers(optimizer):
    """The optimizers under the wrappers, each with what tells its values from the others'.

    Keras's callbacks log `learning_rate`, and for each group of a `MultiOptimizer`
    `learning_rate_<its name>`. Where groups share a name, Keras is left with the last one's rate
    under it; the others are numbered, `_<name>_group_0`.

    Args:
        optimizer: Any optimizer. A `MultiOptimizer` that is not built may not know its groups.

    Returns:
        A list of pairs `(suffix, optimizer)`; `("", optimizer)` where there are no groups.
    """
    optimizer = unscaled(optimizer)
    if not hasattr(optimizer, "optimizers"):
        return [("", optimizer)]
    groups = list(optimizer.optimizers)
    later = [[other.name for other in groups[i + 1 :]] for i in range(len(groups))]
    suffixes = [
        f"_{group.name}_group_{i}" if group.name in later[i] else f"_{group.name}"
        for i, group in enumerate(groups)
    ]
    return list(zip(suffixes, groups))


def rate_ratios(optimizers):
    """The learning rate of each optimizer as a share of the highest.

    Args:
        optimizers: A list of optimizers that are no wrappers.

    Returns:
        A NumPy array; all ones where every rate is 0.
    """
    # A warm-up from zero tells nothing at its first step, but does at the next; a schedule that
    # has ended at zero did at its own first steps.
    now = [steps_made(each) for each in optimizers]
    from_start = [0] * len(optimizers)
    for steps, ahead in ((now, 0), (now, 1), (from_start, 0), (from_start, 1)):
        rates = np.array([_rate(each, step + ahead) for each, step in zip(optimizers, steps)])
        if np.max(rates) > 0:
            return rates / np.max(rates)
    return np.ones(len(optimizers))


def _rate(optimizer, step):
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(rate(step))
    return learning_rate_now(optimizer)
