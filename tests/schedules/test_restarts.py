"""Warm restarts: whole numbers of steps, exactly."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_cyclic as kc
from tests.backends import LARGEST_STEP, countable, rates_at, tensorflow_only
from tests.schedules.policies import restarts

WarmRestarts = kc.schedules.CosineAnnealingWarmRestarts


def test_the_lengths_that_the_docstring_promises():
    rates = np.asarray(WarmRestarts(1.0, 5, t_mul=1.5)(np.arange(80)))
    (starts,) = np.nonzero(rates == 1.0)
    assert np.diff(starts).tolist() == [5, 8, 11, 17, 25]


@given(first=st.integers(1, 10**6), quarters=st.integers(5, 16))
def test_restarts_are_exact_up_to_the_largest_step(first, quarters):
    t_mul = quarters / 4
    starts = np.array([start for start in restarts(first, t_mul) if start <= LARGEST_STEP])
    schedule = WarmRestarts(1.0, first, t_mul=t_mul)
    np.testing.assert_array_equal(rates_at(schedule, starts), np.ones(len(starts)))
    lengths = np.diff(starts)
    before = rates_at(schedule, starts[1:] - 1)
    np.testing.assert_allclose(before, np.sin(np.pi / 2 / lengths) ** 2, rtol=2e-6)


def test_keras_restarts_a_step_early_here_and_we_do_not():
    last_of_a_cycle = 16_382_999
    assert float(keras.optimizers.schedules.CosineDecayRestarts(0.1, 1000)(last_of_a_cycle)) > 0.09
    ours = WarmRestarts(0.1, 1000, t_mul=2.0)
    assert float(ours(last_of_a_cycle)) < 1e-12
    assert float(ours(last_of_a_cycle + 1)) == np.float32(0.1)


def test_peaks_shrink_to_the_lowest_rate_and_no_further():
    schedule = WarmRestarts(0.8, 10, m_mul=0.5, final_lr=0.15)
    peaks = np.asarray(schedule(np.arange(6) * 10))
    np.testing.assert_allclose(peaks, [0.8, 0.4, 0.2, 0.15, 0.15, 0.15], rtol=1e-6)
    assert np.asarray(schedule(np.arange(100))).min() >= np.float32(0.15)


@pytest.mark.parametrize("t_mul", [1e6, 1e30, 3e38])
def test_a_factor_so_large_that_the_second_cycle_has_no_end(t_mul):
    schedule = WarmRestarts(0.1, 10, t_mul=t_mul, profile="linear")
    steps = countable([5, 9, 10, 11, 2**31 - 1, 2**53])
    rates = np.asarray(schedule(steps), "float64")
    second = 1 - (steps[2:] - 10) / (10 * t_mul)
    if t_mul > 1e6:
        np.testing.assert_allclose(rates[2:], 0.1 * second, rtol=2e-6)
    np.testing.assert_allclose(rates[:4], [0.05, 0.01, *0.1 * second[:2]], rtol=2e-6)


@tensorflow_only("the other backends do not count so far")
def test_a_restart_beyond_int64():
    """Restarts after 10, 10**7, 10**13 and 10**19 steps more; the last is no int64."""
    schedule = WarmRestarts(0.1, 10, t_mul=1e6, profile="linear")
    start = 10 + 10**7 + 10**13
    step = start + 10**15
    assert float(schedule(step)) == pytest.approx(0.1 * (1 - 1e15 / 1e19), rel=2e-6)


def test_a_factor_close_to_1_is_fine_until_there_would_be_too_many_restarts():
    schedule = WarmRestarts(1.0, 100, t_mul=1.004)
    assert float(schedule(200)) == 1.0
    with pytest.raises(ValueError, match=r"`t_mul` must be 1 or so large.*t_mul=1\.00001"):
        WarmRestarts(1.0, 100, t_mul=1.00001)


@pytest.mark.parametrize(("m_mul", "final_lr"), [(1.0, 0.0), (0.5, 0.0), (0.5, 0.01), (0.5, 0.1)])
def test_the_height_is_where_the_rate_stands_between_its_bounds(m_mul, final_lr):
    """What a momentum follows; at bounds of the same value, the fall."""
    schedule = kc.schedules.CosineAnnealingWarmRestarts(0.1, 10, 2.0, m_mul, final_lr)
    steps = np.arange(200)
    height = np.asarray(schedule.height(keras.ops.convert_to_tensor(steps)))
    rates = np.asarray(schedule(steps), "float64")
    np.testing.assert_allclose(final_lr + (0.1 - final_lr) * height, rates, atol=1e-7)
    assert height[0] == 1
    assert (height >= 0).all()
    if final_lr < 0.1:
        np.testing.assert_allclose(height, (rates - final_lr) / (0.1 - final_lr), atol=2e-6)
