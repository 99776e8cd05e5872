"""In the training graph: how many ops, how many traces."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import BACKEND, MOST_STEPS_PER_EXECUTION, compiled, tensorflow_only
from tests.schedules.policies import POLICIES

schedules = kc.schedules
COMPOSITIONS = ("Warmup", "Sequential", "Sampled", "Product")


def graph_ops(schedule):
    """The operations of the graph, without those that TensorFlow needs for inputs and constants."""
    import tensorflow as tf

    step = tf.TensorSpec((), tf.int64)
    graph = tf.function(schedule).get_concrete_function(step).graph
    idle = ("Const", "Placeholder", "Identity", "NoOp")
    return [op.type for op in graph.get_operations() if op.type not in idle]


@tensorflow_only("graph ops")
def test_the_count_is_the_one_that_the_limits_were_set_by():
    restarts = keras.optimizers.schedules.CosineDecayRestarts(0.1, 100, t_mul=2.0, m_mul=0.5)
    assert len(graph_ops(restarts)) == 28


@tensorflow_only("graph ops")
@pytest.mark.parametrize("arguments", [(2000,), (2000, 500)])
def test_triangular_costs_at_most_8_ops(arguments):
    assert len(graph_ops(schedules.Triangular(0.001, 0.006, *arguments))) <= 8


SINGLE = [policy for policy in POLICIES if policy.name not in COMPOSITIONS]


@tensorflow_only("graph ops")
@pytest.mark.parametrize("policy", SINGLE, ids=lambda policy: policy.name)
def test_no_policy_costs_more_than_28_ops(policy):
    assert len(graph_ops(policy.schedule)) <= 28


@tensorflow_only("graph ops")
def test_no_arguments_make_a_policy_cost_more_than_28_ops():
    for profile in ("linear", "cosine", "exponential", "rex", kc.profiles.Polynomial(0.5)):
        for schedule in (
            schedules.Cyclical(0.1, 0.2, 3, 5, profile, scale_fn="halve"),
            schedules.OneCycle(0.1, 997, 0.217, profile=profile, three_phase=True),
            schedules.CosineAnnealingWarmRestarts(0.1, 7, 1.5, 0.9, 0.01, profile),
            schedules.WarmupStableDecay(0.1, 3, 4, 5, 0.01, profile),
            schedules.Decay(0.1, 0.01, 7, profile),
        ):
            assert len(graph_ops(schedule)) <= 28, schedule


@tensorflow_only("graph ops")
@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda a, b: schedules.Warmup(a, 100), 1),
        (lambda a, b: schedules.Warmup(a, 100, initial_lr=1e-4), 1),
        (lambda a, b: schedules.Warmup(a, 100, profile="cosine"), 2),
        (lambda a, b: schedules.Warmup(a, 100, 1e-4, profile="rex"), 2),
        (lambda a, b: schedules.Sequential([a, b, a], [100, 1000]), 3),
        (lambda a, b: schedules.Sampled(b, 100), 1),
        (lambda a, b: a * b, 2),
        (lambda a, b: a * 0.5, 1),
        (lambda a, b: schedules.Warmup(schedules.Sequential([a * b, b], [5]), 9), 5),
    ],
)
def test_a_composition_costs_its_parts_and_at_most_8_a_part(make, parts):
    a = schedules.OneCycle(0.1, 1000)
    b = keras.optimizers.schedules.CosineDecay(0.1, 1000)
    whole = make(a, b)
    used = {"a": 0, "b": 0}

    def count(schedule):
        if schedule is a or schedule is b:
            used["a" if schedule is a else "b"] += 1
        for name in ("schedule", "factor"):
            if isinstance(getattr(schedule, name, None), type(a).__mro__[-2]):
                count(getattr(schedule, name))
        for part in getattr(schedule, "schedules", []):
            count(part)

    count(whole)
    of_parts = used["a"] * len(graph_ops(a)) + used["b"] * len(graph_ops(b))
    # A profile other than the straight line is a part too, and costs what it adds to a Decay.
    straight = len(graph_ops(schedules.LinearDecay(0.1, 100)))
    if getattr(whole, "profile", "linear") != "linear":
        of_parts += len(graph_ops(schedules.Decay(0.1, 0.0, 100, whole.profile))) - straight
    assert used["a"] + used["b"] > 0
    assert len(graph_ops(whole)) <= of_parts + 8 * parts


class CountsTraces(schedules.Schedule):
    """A schedule that counts how often Python runs through it."""

    def __init__(self, schedule):
        self.schedule = schedule
        self.traces = 0

    def learning_rate(self, step):
        self.traces += 1
        return self.schedule.learning_rate(step)


def small_model(optimizer, **kwargs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **kwargs)
    return model


DATA = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch traces nothing")
@pytest.mark.parametrize("jit_compile", [False, True] if BACKEND == "tensorflow" else [True])
@pytest.mark.parametrize("steps_per_execution", [1, MOST_STEPS_PER_EXECUTION])
def test_a_training_traces_its_step_once(jit_compile, steps_per_execution):
    schedule = CountsTraces(schedules.Triangular2(0.001, 0.006, 20))
    model = small_model(
        keras.optimizers.SGD(schedule),
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    model.fit(DATA[:, :4], DATA[:, 4:], batch_size=4, epochs=1, verbose=0)
    after_one_epoch = schedule.traces
    model.fit(DATA[:, :4], DATA[:, 4:], batch_size=4, epochs=6, verbose=0)
    assert 0 < after_one_epoch == schedule.traces


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_training_uses_the_rate_of_its_step(policy):
    """With a gradient of 1, what SGD takes off the weight is the rate itself."""
    weight = keras.Variable(0.0)
    optimizer = keras.optimizers.SGD(policy.schedule)
    optimizer.build([weight])

    train_step, traces = step_with_gradient_of_one(optimizer, weight)
    for step in range(12):
        weight.assign(0.0)
        train_step()
        rate = -float(weight)
        expected = float(policy.oracle(step))
        assert abs(rate - expected) <= 2e-6 * max(expected, policy.amplitude / 10)
    assert traces() == (0 if BACKEND == "torch" else 1)


def step_with_gradient_of_one(optimizer, weight):
    """A step of training, compiled where the backend compiles, and how often it was traced."""
    gradients = [keras.ops.ones(())]
    if BACKEND == "jax":
        update = compiled(optimizer.stateless_apply)

        def train_step():
            values = [variable.value for variable in optimizer.variables]
            weights, values = update(values, gradients, [weight.value])
            weight.assign(weights[0])
            for variable, value in zip(optimizer.variables, values):
                variable.assign(value)

        return train_step, update._cache_size
    train_step = compiled(lambda: optimizer.apply(gradients, [weight]), "graph")
    return train_step, getattr(train_step, "experimental_get_tracing_count", lambda: 0)
