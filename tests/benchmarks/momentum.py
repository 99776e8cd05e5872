"""What cycling the momentum costs a training step, side by side with not cycling it.

Compiles one model with a cyclical learning rate three times: (a) without a callback, (b) for a
callback that assigns `optimizer.momentum` at every batch, which changes nothing in the compiled
step, and (c) with CyclicalMomentum. Then the three compiled steps, as `fit` calls them, take turns
of 50 steps, so that whatever else the machine does meets them alike. Printed are ratios to (a): of
the seconds that the faster turns took, and, for (c), of the processor time, which says more on a
machine that others use too.

    python tests/benchmarks/momentum.py [turns]
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_cyclic as kc

TURN, BATCH = 50, 128
rng = np.random.default_rng(0)
X = rng.normal(size=(TURN * BATCH, 64)).astype("float32")
Y = rng.integers(0, 10, size=(TURN * BATCH,))


class KeepCompiledStep(keras.callbacks.Callback):
    """Keeps the function that `fit` calls for each execution, to call it after `fit`."""

    def on_epoch_end(self, epoch, logs=None):
        self.function = self.model.train_function


def model(make_optimizer, **kwargs):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(256, activation="relu") for _ in range(3)]
    made = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(make_optimizer(kc.schedules.Triangular(0.001, 0.01, 20)), loss, **kwargs)
    return made


def compiled_step(trained, *callbacks):
    keep = KeepCompiledStep()
    trained.fit(X, Y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=[*callbacks, keep])
    return keep.function


def take_turn(function, at_once, before_each):
    """Seconds and processor seconds per step of one turn."""
    data = iter(tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).prefetch(TURN))
    begun = np.array([time.perf_counter(), time.process_time()])
    for batch in range(TURN // at_once):
        before_each(batch)
        logs = function(data)
    float(logs["loss"])
    return (np.array([time.perf_counter(), time.process_time()]) - begun) / TURN


def main(turns):
    optimizers = {
        "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
        "beta_1": keras.optimizers.Adam,
    }
    print(
        "optimizer  at once  XLA    step without   assigning each batch   CyclicalMomentum   "
        "processor time"
    )
    for name, make_optimizer in optimizers.items():
        for at_once in (1, 50):
            for xla in (False, True):
                kwargs = {"steps_per_execution": at_once, "jit_compile": xla}
                models = [model(make_optimizer, **kwargs) for _ in range(3)]
                functions = [
                    compiled_step(models[0]),
                    compiled_step(models[1]),
                    compiled_step(models[2], kc.callbacks.CyclicalMomentum()),
                ]

                def assign(batch, optimizer=models[1].optimizer, name=name):
                    setattr(optimizer, name, 0.95 - 0.1 * min(batch % 40, 40 - batch % 40) / 20)

                def nothing(batch):
                    pass

                before = [nothing, assign, nothing]
                taken = np.array(
                    [
                        [take_turn(f, at_once, b) for f, b in zip(functions, before)]
                        for _ in range(turns)
                    ]
                )
                (without, plain_cpu), (assigning, _), (ours, our_cpu) = np.quantile(
                    taken, 0.25, axis=0
                )
                print(
                    f"{type(models[0].optimizer).__name__:9}  {at_once:7}  {xla!s:5}  "
                    f"{without * 1e6:9.0f} us   {assigning / without:20.3f}   "
                    f"{ours / without:16.3f}   {our_cpu / plain_cpu:14.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
