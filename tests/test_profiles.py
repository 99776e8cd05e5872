"""Profiles: their ends, their shapes, and that fall and rise are one curve."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_cyclic as kc
from keras_cyclic.schedules.clock import Move
from tests.backends import LARGEST_STEP
from tests.oracles import exact

profiles = kc.profiles
CURVES = {
    "linear": (profiles.Linear(), exact.linear),
    "cosine": (profiles.Cosine(), exact.cosine),
    "exponential": (profiles.Exponential(), exact.exponential()),
    "exponential, fast": (profiles.Exponential(rate=20.0), exact.exponential(20.0)),
    "exponential, plain": (
        profiles.Exponential(rate=3.0, normalize=False),
        exact.exponential(3.0, normalize=False),
    ),
    "REX": (profiles.REX(), exact.rex()),
    "REX 0.1": (profiles.REX(beta=0.1), exact.rex(0.1)),
    "REX 1": (profiles.REX(beta=1.0), exact.linear),
    "square": (profiles.Polynomial(), exact.polynomial()),
    "square root": (profiles.Polynomial(power=0.5), exact.polynomial(0.5)),
    "power 1": (profiles.Polynomial(power=1.0), exact.linear),
    "power 12": (profiles.Polynomial(power=12.0), exact.polynomial(12.0)),
}
every_curve = pytest.mark.parametrize(("profile", "curve"), CURVES.values(), ids=CURVES.keys())


@every_curve
def test_the_curve(profile, curve):
    z = [Fraction(k, 64) for k in range(65)]
    done = np.asarray(profile(keras.ops.convert_to_tensor([float(share) for share in z])))
    exact_done = [float(curve(share)) for share in z]
    np.testing.assert_allclose(done, exact_done, rtol=1e-6, atol=3e-7)
    assert done[0] == 0
    if "plain" not in repr(profile) and getattr(profile, "normalize", True):
        assert done[-1] == 1
    assert (np.diff(done) >= -1e-7).all()


@every_curve
def test_what_remains_is_the_rest(profile, curve):
    w = [Fraction(k, 64) for k in range(65)]
    left = np.asarray(profile.remaining(keras.ops.convert_to_tensor([float(share) for share in w])))
    exact_left = [float(1 - curve(1 - share)) for share in w]
    np.testing.assert_allclose(left, exact_left, rtol=1e-6, atol=3e-7)


@every_curve
def test_a_fall_is_exact_where_it_is_small(profile, curve):
    """One step before the end of a long fall, to a relative precision that 1 - p(z) has lost."""
    steps = 10**6
    last = keras.ops.convert_to_tensor(np.array([steps - 1]))
    left = float(profile.fall(Move(0, steps), last)[0])
    assert left == pytest.approx(float(1 - curve(1 - Fraction(1, steps))), rel=1e-6)


@pytest.mark.parametrize(
    "name", [name for name in CURVES if name[:3] != "REX" and "root" not in name]
)
def test_a_rise_is_exact_where_it_is_small(name):
    """One step after the start of a long rise; but for curves that are steep at their top."""
    profile, curve = CURVES[name]
    steps = 10**6
    first = keras.ops.convert_to_tensor(np.array([1]))
    done = float(profile.rise(Move(0, steps), first)[0])
    assert done == pytest.approx(float(curve(Fraction(1, steps))), rel=2e-6)


def test_an_exponential_that_is_a_little_steep():
    """Steep enough for the other formula, and not so steep that its end is at nothing."""
    profile, curve = profiles.Exponential(rate=5.0), exact.exponential(5.0)
    steps = np.arange(65)
    expected = [float(1 - curve(Fraction(int(step), 64))) for step in steps]
    fall = profile.fall(Move(0, 64), keras.ops.convert_to_tensor(steps))
    np.testing.assert_allclose(np.asarray(fall), expected, atol=3e-7)
    left = profile.remaining(keras.ops.convert_to_tensor(np.float32((64 - steps) / 64)))
    np.testing.assert_allclose(np.asarray(left), expected, atol=3e-7)


@every_curve
@given(length=st.integers(1, min(2**40, LARGEST_STEP)), share=st.floats(0, 1))
def test_a_rise(profile, curve, length, share):
    step = int(length * share)
    at = keras.ops.convert_to_tensor(np.array([step]))
    rise = float(profile.rise(Move(0, length), at)[0])
    expected = float(curve(Fraction(step, length)))
    assert abs(rise - expected) <= 2e-6 * max(expected, 0.1)


def test_the_published_values_of_rex():
    """At half time the paper's REX is at two thirds, and that of beta 0.1 at ten elevenths."""
    assert float(profiles.REX()(0.5)) == pytest.approx(1 / 3)
    assert float(profiles.REX(beta=0.1)(0.5)) == pytest.approx(1 / 11)


@keras.saving.register_keras_serializable(package="test_profiles")
def smoothstep(z):
    return z * z * (3 - 2 * z)


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("linear", "Linear()"),
        ("cosine", "Cosine()"),
        ("exponential", "Exponential()"),
        ("rex", "REX()"),
        ("polynomial", "Polynomial()"),
        (profiles.REX(0.1), "REX(beta=0.1)"),
        (profiles.Exponential(3.0, False), "Exponential(rate=3.0, normalize=False)"),
    ],
)
def test_get(identifier, expected):
    assert repr(profiles.get(identifier)) == expected
    assert profiles.get(profiles.get(identifier)) is not None


def test_get_of_a_function():
    profile = profiles.get(smoothstep)
    assert float(profile(0.25)) == 0.15625
    assert float(profile.remaining(0.25)) == 0.15625
    schedule = kc.schedules.Decay(1.0, 0.0, 100, smoothstep)
    assert float(schedule(75)) == pytest.approx(0.15625)
    assert repr(schedule) == (
        "Decay(initial_lr=1.0, final_lr=0.0, decay_steps=100, profile=smoothstep)"
    )


@every_curve
def test_round_trip(profile, curve):
    config = keras.saving.serialize_keras_object(profile)
    loaded = keras.saving.deserialize_keras_object(config)
    assert loaded.get_config() == profile.get_config()
    assert repr(loaded) == repr(profile)
