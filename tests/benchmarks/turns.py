"""Compiled training steps that take turns: whatever else a machine does meets them alike."""

import time

import keras
import numpy as np
import tensorflow as tf

TURN, BATCH = 50, 128
rng = np.random.default_rng(0)
X = rng.normal(size=(TURN * BATCH, 64)).astype("float32")
Y = rng.integers(0, 10, size=(TURN * BATCH,))


class KeepCompiledStep(keras.callbacks.Callback):
    """Keeps the function that `fit` calls for each execution, to call it after `fit`."""

    def on_epoch_end(self, epoch, logs=None):
        self.function = self.model.train_function


def network(optimizer, layers=3, width=256, **kwargs):
    """A dense network with two variables a layer, and two more."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(width, activation="relu") for _ in range(layers)]
    made = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(optimizer, loss, **kwargs)
    return made


def compiled_step(model, *callbacks):
    """The compiled function of a model after one epoch of `fit`."""
    keep = KeepCompiledStep()
    model.fit(X, Y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=[*callbacks, keep])
    return keep.function


def nothing(batch):
    """What happens before each execution where no callback does anything."""


def take_turn(function, at_once, before_each=nothing):
    """Seconds and processor seconds per step of one turn of 50 steps."""
    data = iter(tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).prefetch(TURN))
    begun = np.array([time.perf_counter(), time.process_time()])
    for batch in range(TURN // at_once):
        before_each(batch)
        logs = function(data)
    float(logs["loss"])
    return (np.array([time.perf_counter(), time.process_time()]) - begun) / TURN


def take_turns(functions, at_once, turns, before=None):
    """Seconds per step: an array `(turns, functions, 2)`, as `take_turn` gives them.

    Who begins changes from turn to turn.
    """
    before = before or [nothing] * len(functions)
    taken = np.empty((turns, len(functions), 2))
    for turn in range(turns):
        for place in range(len(functions)):
            number = (turn + place) % len(functions)
            taken[turn, number] = take_turn(functions[number], at_once, before[number])
    return taken


def ratio(seconds, to):
    """The median of the ratios turn by turn, and the ends of its 95 % confidence interval."""
    ratios = np.sort(seconds / to)
    half = 0.98 * np.sqrt(len(ratios))
    low = max(int(np.floor(len(ratios) / 2 - half)), 0)
    high = min(int(np.ceil(len(ratios) / 2 + half)), len(ratios) - 1)
    return np.median(ratios), ratios[low], ratios[high]
