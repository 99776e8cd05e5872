"""Steps per second of the range test, as a share of plain `fit`'s, side by side in one run.

Printed is the median over the turns, with its quartiles. Runs on JAX and PyTorch, too.

    python tests/benchmarks/range_test.py
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_cyclic as kc

STEPS = 1000
ROUNDS = 7


class Clock(keras.callbacks.Callback):
    """Times a `fit` from its second execution on, so that tracing does not count."""

    def on_train_batch_end(self, batch, logs=None):
        if not hasattr(self, "begin"):
            self.begin, self.first = time.perf_counter(), batch
        self.end, self.last = time.perf_counter(), batch

    @property
    def steps_per_second(self):
        return (self.last - self.first) / (self.end - self.begin)


def measure(steps_per_execution, tested):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6400, 32)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, x[:, :1])).batch(32).cache().repeat()
    hidden = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((32,)), *hidden, keras.layers.Dense(1)])
    model.compile("adam", "mse", steps_per_execution=steps_per_execution)
    clock = Clock()
    callbacks = [clock]
    if tested:
        callbacks.insert(0, kc.callbacks.LRRangeTest(1e-7, 1e-3, steps=STEPS))
    model.fit(data, steps_per_epoch=STEPS, verbose=0, callbacks=callbacks)
    return clock.steps_per_second


if __name__ == "__main__":
    # PyTorch's `fit` takes one step at a time.
    for steps_per_execution in (1,) if keras.backend.backend() == "torch" else (50, 1):
        rates = np.array(
            [
                [measure(steps_per_execution, tested) for tested in (False, True)]
                for _ in range(ROUNDS)
            ]
        )
        plain, tested = np.median(rates, axis=0)
        ratio, low, high = np.quantile(rates[:, 1] / rates[:, 0], (0.5, 0.25, 0.75))
        print(
            f"steps_per_execution={steps_per_execution}: fit {plain:.0f} steps/s, range test "
            f"{tested:.0f} steps/s, ratio {ratio:.2f} ({low:.2f} to {high:.2f})",
            flush=True,
        )
