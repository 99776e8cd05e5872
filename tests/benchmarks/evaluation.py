"""Nanoseconds and graph ops of one evaluation, for each policy and for Keras's, and how they grow.

One compiled loop of 100,000 steps evaluates the schedule at each of them, as a TensorFlow graph and
as one compiled by XLA; the time of a loop with a constant in its place is taken off. The loops take
turns, of a minute or two each. Ops are those of the graph without constants, inputs and identities.

    python tests/benchmarks/evaluation.py [turns]
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from train_step import RATES

import keras_cyclic as kc

S, K = kc.schedules, keras.optimizers.schedules
STEPS = 100_000
LATE = ", from step 2**40"
GROWTH = {
    "MultiStepDecay, 10 milestones": S.MultiStepDecay(0.1, list(range(10, 101, 10))),
    "MultiStepDecay, 10,000 milestones": S.MultiStepDecay(0.1, list(range(10, 100_001, 10))),
    "Keras PiecewiseConstantDecay, 10": K.PiecewiseConstantDecay(
        list(range(10, 101, 10)), [0.1 / 2**n for n in range(11)]
    ),
    "Keras PiecewiseConstantDecay, 100": K.PiecewiseConstantDecay(
        list(range(10, 1001, 10)), [0.1 / 1.01**n for n in range(101)]
    ),
    "warm restarts, 7 cycles": S.CosineAnnealingWarmRestarts(0.1, 1000, t_mul=2.0),
    "warm restarts, 100,000 cycles": S.CosineAnnealingWarmRestarts(0.1, 1),
    "Sequential of 2": S.Sequential([S.REX(0.1, 50)] * 2, [50]),
    "Sequential of 20": S.Sequential([S.REX(0.1, 50)] * 20, list(range(50, 1000, 50))),
}


def graph_ops(schedule):
    graph = tf.function(schedule).get_concrete_function(tf.TensorSpec((), tf.int64)).graph
    idle = ("Const", "Placeholder", "Identity", "NoOp")
    return sum(op.type not in idle for op in graph.get_operations())


def compiled_loop(schedule, first, xla):
    """A function that evaluates a schedule at 100,000 steps one after another."""

    @tf.function(jit_compile=xla)
    def loop():
        def body(step, total):
            return step + 1, total + schedule(step)

        start = tf.constant(first, "int64")
        return tf.while_loop(
            lambda step, total: step < first + STEPS, body, (start, tf.constant(0.0))
        )[1]

    float(loop())
    return loop


def seconds(loop):
    begin = time.perf_counter()
    float(loop())
    return time.perf_counter() - begin


def nanoseconds(schedules, xla, turns):
    """Per evaluation, by name: the median over the turns, and the quartiles."""
    empty = compiled_loop(lambda step: tf.constant(0.01), 0, xla)
    loops = {name: compiled_loop(schedule, 0, xla) for name, schedule in schedules.items()}
    for name in ("Triangular", "OneCycle", "CosineAnnealingWarmRestarts"):
        loops[name + LATE] = compiled_loop(schedules[name], 2**40, xla)
    taken = {name: [] for name in loops}
    for _ in range(turns):
        nothing = seconds(empty)
        for name, loop in loops.items():
            taken[name].append((seconds(loop) - nothing) / STEPS * 1e9)
    return {name: np.quantile(times, (0.5, 0.25, 0.75)) for name, times in taken.items()}


def main(turns):
    schedules = {name: rate for name, rate in RATES.items() if callable(rate)} | GROWTH
    by_xla, as_graph = (nanoseconds(schedules, xla, turns) for xla in (True, False))
    print(f"{'':46} ops   ns an evaluation (quartiles)   compiled by XLA")
    for name in as_graph:
        ops = graph_ops(schedules[name.removesuffix(LATE)])
        cells = ("{:6.0f} ({:.0f} to {:.0f})".format(*by[name]) for by in (as_graph, by_xla))
        print(f"{name:46} {ops:3}", *cells, sep="   ", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
