"""What a schedule costs a training step, side by side with a constant rate and with Keras's.

Compiles one model with each of the policies, with Keras's CosineDecay and CosineDecayRestarts, and
at a constant rate that a callback assigns before every batch, as bckenstler/CLR does. The compiled
steps, as `fit` calls them, take turns of 50 steps. Printed are ratios to the constant rate, turn by
turn: the median and its 95 % confidence interval.

    python tests/benchmarks/train_step.py [turns]
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from turns import compiled_step, network, nothing, ratio, take_turns

import keras_cyclic as kc

S, K = kc.schedules, keras.optimizers.schedules
RATES = {
    "constant": 0.01,
    "Constant": S.Constant(0.01),
    "Triangular": S.Triangular(0.001, 0.01, 2000),
    "ExpRange": S.ExpRange(0.001, 0.01, 2000, gamma=0.9999),
    "OneCycle": S.OneCycle(0.01, 10_000),
    "CosineAnnealing": S.CosineAnnealing(0.01, 10_000),
    "CosineAnnealingWarmRestarts": S.CosineAnnealingWarmRestarts(0.01, 100, t_mul=2.0, m_mul=0.9),
    "REX": S.REX(0.01, 10_000),
    "StepDecay": S.StepDecay(0.01, 3000),
    "MultiStepDecay": S.MultiStepDecay(0.01, [3000, 6000, 9000]),
    "ExponentialDecay": S.ExponentialDecay(0.01, 1000, 0.9),
    "Warmup of REX": S.Warmup(S.REX(0.01, 9000), 1000),
    "Keras CosineDecay": K.CosineDecay(0.01, 10_000),
    "Keras CosineDecayRestarts": K.CosineDecayRestarts(0.01, 100, m_mul=0.9),
    "assigned each batch": 0.01,
}
OPTIMIZERS = {
    "SGD": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "AdamW": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.01),
}


def measure(make_optimizer, at_once, xla, turns):
    """The seconds per step of each turn, by name."""
    kwargs = {"steps_per_execution": at_once, "jit_compile": xla}
    models = {name: network(make_optimizer(rate), **kwargs) for name, rate in RATES.items()}
    assigned = models["assigned each batch"].optimizer

    def assign(batch):
        cycle = 1 + batch // 4000
        height = max(0.0, 1 - abs(batch / 2000 - 2 * cycle + 1))
        assigned.learning_rate = 0.001 + 0.009 * height

    functions = [compiled_step(model) for model in models.values()]
    before = [assign if name == "assigned each batch" else nothing for name in models]
    taken = take_turns(functions, at_once, turns, before)
    return dict(zip(models, taken[:, :, 0].T))


def main(turns):
    for optimizer, make in OPTIMIZERS.items():
        for at_once in (1, 50):
            for xla in (False, True):
                seconds = measure(make, at_once, xla, turns)
                constant = seconds.pop("constant")
                print(
                    f"\n{optimizer}, {at_once} at once, XLA {'on' if xla else 'off'}: "
                    f"{np.median(constant) * 1e6:.0f} us a step at a constant rate",
                    flush=True,
                )
                for name, taken in seconds.items():
                    print("  {:28} {:.3f} ({:.3f} to {:.3f})".format(name, *ratio(taken, constant)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
