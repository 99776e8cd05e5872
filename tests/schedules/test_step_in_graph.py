"""The step of an optimizer in a TensorFlow graph: read once, and again after it may have moved."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import tensorflow_only

pytestmark = tensorflow_only("graphs that hold variables")


def rates_of(train, jit_compile):
    """What a function of a schedule and a counter gives, compiled and run as it stands."""
    import tensorflow as tf

    # The rate of step t is t itself.
    schedule = kc.schedules.Triangular(0.0, 100.0, 100)

    def run(wrap):
        counter = keras.Variable(0, dtype="int64", trainable=False)
        return [float(rate) for rate in wrap(lambda: train(schedule, counter))()]

    return run(lambda f: tf.function(f, jit_compile=jit_compile)), run(lambda f: f)


def assigned(schedule, counter):
    first = schedule(counter)
    counter.assign_add(3)
    second = schedule(counter)
    counter.assign(counter + 4)
    return first, second, schedule(counter), schedule(counter)


def assigned_by_a_function(schedule, counter):
    import tensorflow as tf

    @tf.function
    def inner():
        counter.assign_add(3)
        return schedule(counter)

    return schedule(counter), inner(), schedule(counter), inner(), schedule(counter)


def assigned_in_a_branch(schedule, counter):
    first = schedule(counter)

    def branch():
        before = schedule(counter)
        counter.assign_add(3)
        return before + schedule(counter)

    inside = keras.ops.cond(counter < 1, branch, lambda: 0.0)
    return first, inside, schedule(counter)


def assigned_in_a_loop(schedule, counter):
    first = schedule(counter)

    def body(number, total):
        counter.assign_add(3)
        return number + 1, total + schedule(counter)

    looped = keras.ops.while_loop(lambda number, total: number < 5, body, (0, 0.0))
    return first, looped[1], schedule(counter)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (assigned, [0, 3, 7, 7]),
        (assigned_by_a_function, [0, 3, 3, 6, 6]),
        (assigned_in_a_branch, [0, 3, 3]),
        (assigned_in_a_loop, [0, 3 + 6 + 9 + 12 + 15, 15]),
    ],
)
def test_a_rate_is_of_the_step_at_which_it_is_asked_for(train, expected, jit_compile):
    in_graph, eager = rates_of(train, jit_compile)
    np.testing.assert_allclose(in_graph, expected, rtol=1e-6)
    np.testing.assert_allclose(eager, expected, rtol=1e-6)


@pytest.mark.parametrize("kernels", [2, 12])
def test_decay_of_many_weights_reads_the_step_no_more_often(kernels):
    import tensorflow as tf

    weights = [keras.Variable(np.ones(2)) for _ in range(kernels)]
    schedule = kc.schedules.CosineAnnealingWarmRestarts(0.1, 10, t_mul=2.0)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.1)
    optimizer.build(weights)

    @tf.function
    def step():
        optimizer.apply([keras.ops.ones(2)] * kernels, weights)

    graph = step.get_concrete_function().graph
    into_the_schedule = {
        op.inputs[0].name for op in graph.get_operations() if op.type == "GreaterEqual"
    }
    assert len(into_the_schedule) == 1
