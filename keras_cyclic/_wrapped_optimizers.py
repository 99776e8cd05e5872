"""Optimizers inside optimizers: Keras's `LossScaleOptimizer` and `MultiOptimizer`."""

import keras
import numpy as np


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
        A list of optimizers that are no wrappers.
    """
    return [each for each in wrapped_optimizers(optimizer) if not _is_wrapper(each)]


def _is_wrapper(optimizer):
    return hasattr(optimizer, "inner_optimizer") or hasattr(optimizer, "optimizers")


def rate_ratios(optimizers):
    """The learning rate of each optimizer as a share of the highest.

    Args:
        optimizers: A list of optimizers that are no wrappers.

    Returns:
        A NumPy array; all ones where every rate is 0.
    """
    # A warm-up from zero tells nothing at its first step, but does at the next; a schedule that
    # has ended at zero did at its own first steps.
    now = [int(keras.ops.convert_to_numpy(each._iterations)) for each in optimizers]
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
    return float(optimizer.learning_rate)
