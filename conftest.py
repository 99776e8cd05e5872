"""Leaves out the examples that this Keras cannot run."""

import keras

collect_ignore = []
if not hasattr(keras.optimizers, "MultiOptimizer"):
    # The examples train with it, and it came with Keras 3.15.
    collect_ignore.append("keras_cyclic/optimizers.py")
