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
        A list of optimizers that are no wrappers. The groups of a built `MultiOptimizer` that
        have no weights to update are left out.
    """
    if hasattr(optimizer, "inner_optimizer"):
        return real_optimizers(optimizer.inner_optimizer)
    if hasattr(optimizer, "optimizers"):
        return [each for each in optimizer.optimizers if each.built or not optimizer.built]
    return [optimizer]
