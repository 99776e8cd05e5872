"""Learning rates of a model that a callback adjusts while it trains."""

import keras

from keras_cyclic._wrapped_optimizers import all_suffixed_optimizers


def replace_rates(model, replacement):
    """Gives the optimizers of a model other schedules, and says so to the compiled step.

    Args:
        model: A compiled model.
        replacement: A function from anything that an optimizer takes for a rate to what is to
            take its place, or to the same object.
    """
    for _, optimizer in all_suffixed_optimizers(model.optimizer):
        rate = optimizer._learning_rate
        new = rate if isinstance(rate, keras.Variable) else replacement(rate)
        if new is not rate:
            optimizer.learning_rate = new
            # A step that is already traced would keep the old one.
            model.make_train_function(force=True)


def after_adjustment(model):
    """Lets the compiled step know that a number in a schedule was changed."""
    if keras.backend.backend() == "jax":
        # There a variable that is neither the model's nor the optimizer's is a constant.
        model.make_train_function(force=True)
