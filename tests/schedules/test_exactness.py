"""Every policy against exact arithmetic, at its boundaries and far out."""

import random

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from keras_cyclic.schedules import clock
from tests.backends import (
    BACKEND,
    FLOAT_TYPES,
    LARGEST_STEP,
    MODES,
    compiled,
    step_tensor,
    tensorflow_only,
    to_numpy,
)
from tests.oracles import exact
from tests.schedules.policies import POLICIES, Policy


def steps_to_try(policy, largest=LARGEST_STEP):
    rng = random.Random(policy.name)
    last = max(boundary for boundary in policy.boundaries if boundary <= largest)
    steps = {boundary + nearby for boundary in policy.boundaries for nearby in (-1, 0, 1)}
    steps |= {rng.randrange(0, last + 1) for _ in range(25)}
    steps |= {rng.randrange(0, largest + 1) for _ in range(15)}
    steps |= {int(last ** rng.random()) for _ in range(25)}
    steps = sorted(step for step in steps if 0 <= step <= largest)
    # JAX compiles each operation anew for each shape.
    return np.pad(steps, (0, -len(steps) % 128), "edge")


def rates_of(policy, steps):
    return np.array([float(policy.oracle(int(step))) for step in steps])


def assert_exact(policy, steps, rates):
    expected = rates_of(policy, steps)
    tolerance = 2e-6 * np.maximum(np.abs(expected), policy.amplitude / 10)
    errors = np.abs(np.asarray(rates, "float64") - expected) / tolerance
    worst = int(np.argmax(errors))
    assert errors[worst] <= 1, (
        f"{policy.schedule} at step {steps[worst]}: {rates[worst]!r} is not {expected[worst]!r}, "
        f"{errors[worst]:.2f} times the tolerance"
    )


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
@pytest.mark.parametrize("mode", MODES)
def test_every_policy_is_exact_to_float32_up_to_2_to_the_53(policy, mode):
    steps = steps_to_try(policy)
    rates = compiled(policy.schedule, mode)(step_tensor(steps))
    assert_exact(policy, steps, to_numpy(rates))


@tensorflow_only("the other backends always count so")
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_steps_that_are_counted_in_int32(policy, monkeypatch):
    """As on JAX and PyTorch: nothing overflows, even where a length does not fit an int32."""
    monkeypatch.setattr(clock, "_step_dtype", lambda: "int32")
    steps = steps_to_try(policy, 2**31 - 1)
    steps = np.unique(np.append(steps, [2**31 - 2, 2**31 - 1]))
    steps_as_counted = keras.ops.convert_to_tensor(steps.astype("int32"))
    rates = to_numpy(compiled(policy.schedule, "graph")(steps_as_counted))
    assert_exact(policy, steps, rates)


@pytest.fixture
def floatx(request):
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx("float32")


@pytest.mark.parametrize("floatx", FLOAT_TYPES, indirect=True)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_the_rate_has_the_dtype_of_floatx_and_the_step_never(policy, floatx):
    steps = steps_to_try(policy)
    expected = rates_of(policy, steps)
    # Warmup's peak was worked out when it was made, in float32.
    tolerance = {"float64": 1e-7 if policy.name == "Warmup" else 2e-10}.get(floatx, 1e-2)
    if floatx == "float64" and BACKEND == "torch":
        # Some operations of Keras give float32 there, of float64 too.
        tolerance = 2e-6
    for mode in MODES[:2]:
        rates = compiled(policy.schedule, mode)(step_tensor(steps))
        assert keras.backend.standardize_dtype(rates.dtype) == floatx
        # NumPy has no bfloat16.
        rates = to_numpy(rates if floatx == "float64" else keras.ops.cast(rates, "float32"))
        np.testing.assert_allclose(
            rates, expected, rtol=tolerance, atol=tolerance * policy.amplitude
        )


STEEP = {
    kc.profiles.Exponential(80.0): exact.exponential(80.0),
    kc.profiles.Exponential(20.0, normalize=False): exact.exponential(20.0, normalize=False),
    kc.profiles.Polynomial(100.0): exact.polynomial(100.0),
    kc.profiles.REX(1e-4): exact.rex(1e-4),
}


@pytest.mark.parametrize(("profile", "curve"), STEEP.items(), ids=map(repr, STEEP))
@pytest.mark.parametrize("mode", MODES[-2:])
def test_steep_profiles(profile, curve, mode):
    steps = 3609
    made = {
        kc.schedules.Decay(1.0, 0.0, steps, profile): lambda t: exact.decay(t, 1, 0, steps, curve),
        kc.schedules.CosineAnnealingWarmRestarts(1.0, steps, 2.0, profile=profile): lambda t: (
            exact.warm_restarts(t, 1, steps, 2.0, profile=curve)
        ),
        kc.schedules.Cyclical(0.0, 1.0, steps, 2 * steps, profile): lambda t: exact.cyclical(
            t, 0, 1, steps, 2 * steps, curve
        ),
    }
    for schedule, oracle in made.items():
        tried = np.unique(np.r_[:40, steps - 40 : steps + 60, np.arange(40) * 271 + 3])
        rates = to_numpy(compiled(schedule, mode)(step_tensor(tried)))
        assert_exact(Policy(repr(schedule), schedule, oracle, [], 1.0), tried, rates)


@tensorflow_only("its check of all that is computed")
def test_nothing_that_is_computed_is_infinite():
    """Not even what `where` drops: a search for NaN in a training must not end in its schedule."""
    import tensorflow as tf

    tf.debugging.enable_check_numerics()
    try:
        for policy in POLICIES:
            tf.function(policy.schedule)(tf.constant(steps_to_try(policy), tf.int64))
    finally:
        tf.debugging.disable_check_numerics()


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
    expected = rates_of(policy, steps)
    steps, expected = steps[expected > 0.3e-8], expected[expected > 0.3e-8]
    for mode in MODES[-2:]:
        rates = to_numpy(compiled(policy.schedule, mode)(step_tensor(steps)))
        np.testing.assert_allclose(rates, expected, rtol=5e-6)
