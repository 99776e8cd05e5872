"""Every policy against exact arithmetic, at its boundaries and far out."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.schedules.policies import POLICIES


def steps_to_try(policy, largest=2**53):
    rng = random.Random(policy.name)
    last = max(boundary for boundary in policy.boundaries if boundary <= largest)
    steps = {boundary + nearby for boundary in policy.boundaries for nearby in (-1, 0, 1)}
    steps |= {rng.randrange(0, last + 1) for _ in range(25)}
    steps |= {rng.randrange(0, largest + 1) for _ in range(15)}
    steps |= {int(last ** rng.random()) for _ in range(25)}
    return np.array(sorted(step for step in steps if 0 <= step <= largest))


def assert_exact(policy, steps, rates):
    exact = np.array([float(policy.oracle(int(step))) for step in steps])
    tolerance = 2e-6 * np.maximum(np.abs(exact), policy.amplitude / 10)
    errors = np.abs(np.asarray(rates, "float64") - exact) / tolerance
    worst = int(np.argmax(errors))
    assert errors[worst] <= 1, (
        f"{policy.schedule} at step {steps[worst]}: {rates[worst]!r} is not {exact[worst]!r}, "
        f"{errors[worst]:.2f} times the tolerance"
    )


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_every_policy_is_exact_to_float32_up_to_2_to_the_53(policy, mode):
    steps = steps_to_try(policy)
    evaluate = policy.schedule
    if mode != "eager":
        evaluate = tf.function(evaluate, jit_compile=mode == "xla")
    assert_exact(policy, steps, evaluate(tf.constant(steps, tf.int64)).numpy())


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_an_int32_step_counts_to_its_end(policy):
    steps = steps_to_try(policy, 2**31 - 1)
    rates = tf.function(policy.schedule)(tf.constant(steps, tf.int32)).numpy()
    assert_exact(policy, steps, rates)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_float64_is_more_exact_still(policy):
    keras.config.set_floatx("float64")
    try:
        steps = steps_to_try(policy, 10**6)
        rates = policy.schedule(steps)
    finally:
        keras.config.set_floatx("float32")
    assert keras.backend.standardize_dtype(rates.dtype) == "float64"
    exact = np.array([float(policy.oracle(int(step))) for step in steps])
    # Warmup's peak is what the schedule after it says at its step 0.
    tolerance = 1e-7 if policy.name == "Warmup" else 2e-10
    np.testing.assert_allclose(rates, exact, rtol=tolerance, atol=tolerance * policy.amplitude)


@pytest.mark.parametrize("floatx", ["float16", "bfloat16"])
def test_half_precision_rounds_the_rate_and_not_the_step(floatx):
    policy = next(policy for policy in POLICIES if policy.name == "Triangular")
    steps = steps_to_try(policy)
    keras.config.set_floatx(floatx)
    try:
        rates = policy.schedule(steps)
    finally:
        keras.config.set_floatx("float32")
    assert keras.backend.standardize_dtype(rates.dtype) == floatx
    exact = [float(policy.oracle(int(step))) for step in steps]
    np.testing.assert_allclose(np.asarray(rates, "float64"), exact, rtol=5e-3)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("ExponentialDecay", np.r_[0:1_800_000:9973, 1_000_777]),
        ("ExpRange from nothing", np.r_[1:1_800_000:9973, 1_000_500]),
        ("StepDecay", np.arange(0, 780)),
    ],
)
def test_long_decays_keep_their_relative_precision(name, steps):
    policy = next(policy for policy in POLICIES if policy.name == name)
    exact = np.array([float(policy.oracle(int(step))) for step in steps])
    steps, exact = steps[exact > 0.3e-8], exact[exact > 0.3e-8]
    for jit_compile in (False, True):
        rates = tf.function(policy.schedule, jit_compile=jit_compile)(tf.constant(steps)).numpy()
        np.testing.assert_allclose(rates, exact, rtol=5e-6)
