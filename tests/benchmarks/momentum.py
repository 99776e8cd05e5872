"""What cycling the momentum costs a training step, side by side with not cycling it.

Times epochs of one model with a cyclical learning rate (a) without a callback, (b) with a callback
that assigns `optimizer.momentum` at every batch, which changes nothing in the compiled step, and
(c) with CyclicalMomentum. The three take turns, so that whatever else the machine does meets them
alike; the ratio is the median over the turns.

    python tests/benchmarks/momentum.py [turns]
"""

import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_cyclic as kc

STEPS, BATCH = 200, 128
rng = np.random.default_rng(0)
X = rng.normal(size=(STEPS * BATCH, 64)).astype("float32")
Y = rng.integers(0, 10, size=(STEPS * BATCH,))


class AssignEachBatch(keras.callbacks.Callback):
    """The usual callback, which has no effect on the compiled step."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def on_train_batch_begin(self, batch, logs=None):
        place = batch % 40
        value = 0.95 - 0.1 * min(place, 40 - place) / 20
        setattr(self.model.optimizer, self.name, value)


class EpochTimes(keras.callbacks.Callback):
    """The seconds of each epoch."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.begun)


def model(make_optimizer, **kwargs):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(256, activation="relu") for _ in range(3)]
    made = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(make_optimizer(kc.schedules.Triangular(0.001, 0.01, 20)), loss, **kwargs)
    return made


def seconds_per_step(trained, callback):
    """The best epoch after the one that compiles."""
    times = EpochTimes()
    callbacks = [times, *([callback] if callback else [])]
    trained.fit(X, Y, batch_size=BATCH, epochs=4, verbose=0, shuffle=False, callbacks=callbacks)
    return min(times.seconds[1:]) / STEPS


def main(turns):
    optimizers = {
        "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
        "beta_1": keras.optimizers.Adam,
    }
    print("optimizer  at once  XLA    step without   assigning each batch   CyclicalMomentum")
    for name, make_optimizer in optimizers.items():
        for at_once in (1, 50):
            for xla in (False, True):
                ways = [None, AssignEachBatch(name), kc.callbacks.CyclicalMomentum()]
                models = [
                    model(make_optimizer, steps_per_execution=at_once, jit_compile=xla)
                    for _ in ways
                ]
                taken = [
                    [seconds_per_step(trained, way) for trained, way in zip(models, ways)]
                    for _ in range(turns)
                ]
                without = statistics.median(times[0] for times in taken)
                assigning, ours = (
                    statistics.median(times[way] / times[0] for times in taken) for way in (1, 2)
                )
                kind = {"momentum": "SGD", "beta_1": "Adam"}[name]
                print(
                    f"{kind:9}  {at_once:7}  {xla!s:5}  {without * 1e6:9.0f} us   "
                    f"{assigning:20.3f}   {ours:16.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
