"""What a schedule costs a training step, side by side with a constant rate and with Keras's.

Compiles one model with each of the policies, with Keras's CosineDecay and CosineDecayRestarts, and
at a constant rate that a callback assigns before every batch, as bckenstler/CLR does. The compiled
steps, as `fit` calls them, take turns of 50 steps. Printed are ratios to the mean of three models
at a constant rate, turn by turn: the median and its 95 % confidence interval. The rows of those
three show how much two models of the same kind differ on this machine. First, how the cost grows
with the variables, for each of which AdamW asks for the rate once more.

    python tests/benchmarks/train_step.py [turns] [growth, SGD or AdamW]
"""

import os
import sys
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from turns import compiled_step, network, nothing, ratio, take_turns

import keras_cyclic as kc

warnings.filterwarnings("ignore", "OneCycle")
ASSIGNED = "assigned before each"
S, K = kc.schedules, keras.optimizers.schedules
RATES = {
    "constant": 0.01,
    "constant, a second": 0.01,
    "constant, a third": 0.01,
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
    ASSIGNED: 0.01,
}
CONSTANT = tuple(RATES)[:3]
SOME = (*CONSTANT, "OneCycle", "CosineAnnealingWarmRestarts", "Keras CosineDecayRestarts")
OPTIMIZERS = {
    "SGD": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "AdamW": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.01),
}


def measure(make_optimizer, turns, rates=RATES, layers=3, width=256, at_once=1, xla=False):
    """The seconds per step of each turn, by name."""
    kwargs = {"steps_per_execution": at_once, "jit_compile": xla}
    models = {
        name: network(make_optimizer(rate), layers, width, **kwargs) for name, rate in rates.items()
    }

    def assign(batch):
        cycle = 1 + batch // 4000
        height = max(0.0, 1 - abs(batch / 2000 - 2 * cycle + 1))
        models[ASSIGNED].optimizer.learning_rate = 0.001 + 0.009 * height

    functions = [compiled_step(model) for model in models.values()]
    before = [assign if name == ASSIGNED else nothing for name in models]
    taken = take_turns(functions, at_once, turns, before)
    return dict(zip(models, taken[:, :, 0].T))


def show(title, seconds):
    constant = np.mean([seconds[name] for name in CONSTANT], axis=0)
    print(f"\n{title}: {np.median(constant) * 1e6:.0f} us a step at a constant rate")
    for name, taken in seconds.items():
        print("  {:28} {:.3f} ({:.3f} to {:.3f})".format(name, *ratio(taken, constant)), flush=True)


def grow(turns):
    some = {name: RATES[name] for name in SOME}
    for layers in (3, 30, 100):
        seconds = measure(OPTIMIZERS["AdamW"], turns // 2, some, layers, width=32)
        show(f"AdamW, {2 * layers + 2} small variables", seconds)


def compare(optimizer, turns):
    for at_once in (1, 50):
        for xla in (False, True):
            title = f"{optimizer}, {at_once} at once, XLA {'on' if xla else 'off'}"
            show(title, measure(OPTIMIZERS[optimizer], turns, at_once=at_once, xla=xla))


def main(turns=60, *parts):
    for part in parts or ("growth", *OPTIMIZERS):
        if part == "growth":
            grow(int(turns))
        else:
            compare(part, int(turns))


if __name__ == "__main__":
    main(*sys.argv[1:])
