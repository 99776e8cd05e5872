"""Reading where an optimizer stands, as Python numbers."""

import keras
from keras import ops


def bring_up_to_date(model):
    """Writes the variables of a model where a backend keeps them elsewhere while it trains: JAX."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def steps_made(optimizer):
    """How many steps an optimizer has made as schedules count them, which is every micro-step.

    `optimizer.iterations` counts whole accumulations of gradients.
    """
    # Not by way of NumPy, which warns of how TensorFlow makes arrays.
    steps = ops.convert_to_tensor(optimizer._iterations)
    if keras.backend.backend() == "tensorflow":
        # There it is the variable still, which a `tf.distribute` strategy may have mirrored.
        steps = steps.numpy()
    return int(steps)


def learning_rate_now(optimizer):
    """An optimizer's learning rate at its step."""
    return float(ops.convert_to_numpy(optimizer.learning_rate))
