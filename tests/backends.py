"""What differs between the backends of Keras, for tests that run on each of them."""

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()

# Optimizers count in int64 on TensorFlow; schedules elsewhere in int32.
LARGEST_STEP = 2**53 if BACKEND == "tensorflow" else 2**31 - 1
STEP_DTYPE = "int64" if BACKEND == "tensorflow" else "int32"

# The ways in which a schedule can be run: PyTorch compiles nothing that Keras trains with.
MODES = {"tensorflow": ["eager", "graph", "xla"], "jax": ["eager", "xla"], "torch": ["eager"]}[
    BACKEND
]

# JAX has no float64 unless it is told to, and Keras does not tell it to.
FLOAT_TYPES = ["float16", "bfloat16"] if BACKEND == "jax" else ["float64", "float16", "bfloat16"]

# `fit` on PyTorch takes one step at a time.
MOST_STEPS_PER_EXECUTION = 1 if BACKEND == "torch" else 4

tensorflow_only = pytest.mark.tensorflow_only


def compiled(function, mode="xla"):
    """The function as a step of training runs it: compiled, where the backend compiles.

    Args:
        function: A function of tensors.
        mode: One of `MODES`.
    """
    if mode == "eager" or BACKEND == "torch":
        return function
    if BACKEND == "jax":
        import jax

        # A new function, since JAX keeps traces by function, and this may depend on `floatx`.
        return jax.jit(lambda *tensors: function(*tensors))
    import tensorflow as tf

    return tf.function(function, jit_compile=mode == "xla")


def step_tensor(steps):
    """Steps as an integer tensor in the dtype that they are counted in."""
    return keras.ops.convert_to_tensor(np.asarray(steps, STEP_DTYPE), STEP_DTYPE)


def countable(steps):
    """Those of the steps that the backend can count, as a NumPy array."""
    steps = np.asarray(steps)
    return steps[steps <= LARGEST_STEP]


def rates_at(schedule, steps):
    """The rates at an array of steps, as a float64 array.

    JAX compiles each operation anew for each length, so there are few lengths.
    """
    length = max(256, 2 ** (len(steps) - 1).bit_length())
    rates = schedule(np.pad(steps, (0, length - len(steps)), mode="edge"))
    return np.asarray(rates, "float64")[: len(steps)]


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def compile_arguments(**arguments):
    """Arguments of `compile`, without those that the backend does not have.

    PyTorch's `fit` takes one step at a time and compiles none of it here; on JAX, what is not
    compiled runs one operation at a time.
    """
    if BACKEND == "torch":
        arguments.pop("steps_per_execution", None)
    if BACKEND != "tensorflow":
        arguments.pop("jit_compile", None)
    return arguments


def steps_at_once(steps):
    """Arguments of `compile` for so many steps an execution; skips the test where one is all."""
    if steps > MOST_STEPS_PER_EXECUTION and BACKEND == "torch":
        pytest.skip("PyTorch's `fit` takes one step at a time")
    return {"steps_per_execution": steps}


def bring_up_to_date(model):
    """Writes a model's variables where JAX keeps them elsewhere while `fit` runs."""
    if BACKEND == "jax":
        model.jax_state_sync()
