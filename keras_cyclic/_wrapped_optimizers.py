"""Optimizers inside optimizers: Keras's `LossScaleOptimizer` and `MultiOptimizer`."""


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
