"""What cycling the momentum costs a training step, side by side with not cycling it.

Compiles one model with a cyclical learning rate three times: without a callback, for a callback
that assigns `optimizer.momentum` at every batch, which changes nothing in the compiled step, and
with CyclicalMomentum. The three compiled steps, as `fit` calls them, take turns of 50 steps.
Printed are ratios to the first, turn by turn: the median and its 95 % confidence interval, of the
seconds and, for CyclicalMomentum, of the processor time too.

    python tests/benchmarks/momentum.py [turns]
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from turns import compiled_step, network, nothing, ratio, take_turns

import keras_cyclic as kc

OPTIMIZERS = {
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "beta_1": keras.optimizers.Adam,
}


def measure(name, at_once, xla, turns):
    kwargs = {"steps_per_execution": at_once, "jit_compile": xla}
    rate = kc.schedules.Triangular(0.001, 0.01, 20)
    models = [network(OPTIMIZERS[name](rate), **kwargs) for _ in range(3)]
    functions = [
        compiled_step(models[0]),
        compiled_step(models[1]),
        compiled_step(models[2], kc.callbacks.CyclicalMomentum()),
    ]

    def assign(batch):
        value = 0.95 - 0.1 * min(batch % 40, 40 - batch % 40) / 20
        setattr(models[1].optimizer, name, value)

    return take_turns(functions, at_once, turns, [nothing, assign, nothing])


def main(turns):
    print(
        "optimizer  at once  XLA    us a step   assigning each batch   CyclicalMomentum   ... cpu"
    )
    for name in OPTIMIZERS:
        for at_once in (1, 50):
            for xla in (False, True):
                taken = measure(name, at_once, xla, turns)
                without, assigning, ours = taken[:, :, 0].T
                cpu = ratio(taken[:, 2, 1], taken[:, 0, 1])
                cells = [ratio(assigning, without), ratio(ours, without), cpu]
                print(
                    f"{name:9}  {at_once:7}  {xla!s:5}  {np.median(without) * 1e6:9.0f}",
                    *("{:.3f} ({:.3f} to {:.3f})".format(*cell) for cell in cells),
                    sep="   ",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
