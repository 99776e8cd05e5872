"""Leaves out the examples that need a newer Keras."""

import keras

# `MultiOptimizer`, which the examples train with, came with Keras 3.15.
collect_ignore = (
    [] if hasattr(keras.optimizers, "MultiOptimizer") else ["keras_cyclic/optimizers.py"]
)
