"""Models whose weights tell which learning rate each step had, and metrics that follow a script.

Step t sees the one-hot vector of t, and the loss is the sum of the outputs: plain gradient descent
takes weight t from 0 to minus the rate of step t, and leaves it there.
"""

import keras
import numpy as np
import tensorflow as tf

from tests import backends


def build(optimizer, steps, groups=("only",), traces=None, **compile_arguments):
    """A compiled model with one weight a step in each group.

    Args:
        optimizer: The optimizer.
        steps: How many steps it will train at most.
        groups: The names of its layers.
        traces: A list that grows each time the loss function is traced.
        **compile_arguments: Others for `compile`.
    """

    def loss(y_true, y_pred):
        if traces is not None:
            traces.append(1)
        return keras.ops.sum(y_pred, axis=-1)

    inputs = keras.Input((steps,))
    outputs = [
        keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name=name)(inputs)
        for name in groups
    ]
    joined = keras.layers.Concatenate()(outputs) if len(outputs) > 1 else outputs[0]
    model = keras.Model(inputs, joined)
    model.compile(optimizer, loss, **backends.compile_arguments(**compile_arguments))
    return model


def seen(model):
    """The rates of all steps, those of one group after another."""
    return np.concatenate([-weights[:, 0] for weights in model.get_weights()])


class Script(keras.callbacks.Callback):
    """Logs values that are given for each epoch; None logs nothing."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values = list(values)
        self.name = name

    def on_epoch_end(self, epoch, logs=None):
        if self.values[epoch] is not None:
            logs[self.name] = self.values[epoch]


class Calls(keras.callbacks.Callback):
    """Counts the batches, and what a function of no arguments gives at the end of each epoch."""

    def __init__(self, watch=lambda: None):
        super().__init__()
        self.batches = 0
        self.watch = watch
        self.watched = []

    def on_train_batch_begin(self, batch, logs=None):
        self.batches += 1

    def on_epoch_end(self, epoch, logs=None):
        self.watched.append(self.watch())


def train(model, values, callbacks, steps_per_epoch, **fit_arguments):
    """Trains one epoch for each value, which is its validation loss."""
    steps = model.input_shape[1]
    done = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    data = tf.data.Dataset.from_tensor_slices((np.eye(steps), np.zeros((steps, 1)))).batch(1)
    return model.fit(
        data.skip(done),
        epochs=len(values),
        steps_per_epoch=steps_per_epoch,
        verbose=0,
        callbacks=[Script(values), *callbacks],
        **fit_arguments,
    )
