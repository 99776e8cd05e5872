"""Schedules whose scale and bounds change between two looks at them, in a compiled function."""

import json

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from keras_cyclic.schedules.adjustable import (
    Bounded,
    Scaled,
    with_movable_bounds,
    without_moves,
)
from tests.backends import BACKEND, compiled, step_tensor

S = kc.schedules
STEPS = np.arange(40)


def rates(schedule):
    return keras.ops.convert_to_numpy(schedule(STEPS))


def place(up=3, down=4):
    offset = STEPS % (up + down)
    return np.where(offset < up, offset / up, (up + down - offset) / down)


def test_a_compiled_function_sees_each_change():
    traces = []
    scaled = Scaled(Bounded(S.Triangular(0.1, 0.4, 3, 4)), min_lr=0.05)
    bounded = scaled.schedule

    def compiled_anew():
        def evaluate(steps):
            traces.append(1)
            return scaled(steps)

        return compiled(evaluate)

    function = compiled_anew()
    for scale, low, high in [(1.0, 0.1, 0.4), (0.25, 0.1, 0.4), (0.25, 0.0, 0.2), (0.5, 0.3, 0.3)]:
        scaled.scale = scale
        bounded.move(low, high)
        if BACKEND == "jax":
            # Variables that no step is given are constants there: callbacks compile it anew.
            function = compiled_anew()
        plain = low + (high - low) * place()
        expected = np.maximum(plain * scale, np.minimum(plain, 0.05))
        np.testing.assert_allclose(function(step_tensor(STEPS)), expected, rtol=3e-6, atol=1e-9)
        np.testing.assert_allclose(rates(scaled), expected, rtol=3e-6, atol=1e-9)
    assert len(traces) == (1 if BACKEND == "tensorflow" else 4)


@pytest.mark.parametrize(
    ("wave", "oracle"),
    [
        (S.Triangular(0.1, 0.4, 3, 4), lambda low, high: low + (high - low) * place()),
        (
            S.Triangular2(0.1, 0.4, 3, 4),
            lambda low, high: low + (high - low) * place() / 2.0 ** (STEPS // 7),
        ),
        (
            S.ExpRange(0.1, 0.4, 3, 0.95, 4),
            lambda low, high: low + (high - low) * place() * 0.95**STEPS,
        ),
        (
            S.Cyclical(0.1, 0.4, 3, 4, "cosine"),
            lambda low, high: low + (high - low) * (1 - np.cos(np.pi * place())) / 2,
        ),
        (
            S.CosineAnnealingWarmRestarts(0.4, 7, m_mul=0.5, final_lr=0.1),
            lambda low, high: (
                low
                + np.maximum(high * 0.5 ** (STEPS // 7) - low, 0)
                * (1 + np.cos(np.pi * (STEPS % 7) / 7))
                / 2
            ),
        ),
    ],
)
def test_bounds(wave, oracle):
    bounded = Bounded(wave)
    np.testing.assert_allclose(rates(bounded), rates(wave), rtol=1e-6)
    for bounds in [(0.1, 0.4), (0.05, 0.4), (0.1, 0.2), (0.0, 0.1), (0.2, 0.2)]:
        bounded.move(*bounds)
        assert (bounded.base_lr, bounded.max_lr) == bounds
        np.testing.assert_allclose(rates(bounded), oracle(*bounds), rtol=3e-6, atol=1e-7)
    config = json.loads(json.dumps(bounded.get_config()))
    np.testing.assert_array_equal(rates(Bounded.from_config(config)), rates(bounded))
    assert bounded.cycles() == wave.cycles()


def test_scaled_is_saved_with_its_scale():
    scaled = Scaled(S.Triangular(0.1, 0.4, 3, 4), min_lr=0.05)
    scaled.scale = 0.25
    saved = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(scaled)))
    )
    np.testing.assert_array_equal(rates(saved), rates(scaled))
    assert saved.cycles() == scaled.cycles() == S.Triangular(0.1, 0.4, 3, 4).cycles()


def test_waves_are_found_and_made_movable_once():
    triangular, restarts = S.Triangular(0.1, 0.4, 3, 4), S.CosineAnnealingWarmRestarts(0.4, 7)
    schedule = S.Warmup(S.Sequential([0.5 * triangular, restarts], [14]), 5)
    movable, waves = with_movable_bounds(schedule)
    assert [wave.wave for wave in waves] == [triangular, restarts]
    np.testing.assert_allclose(rates(movable), rates(schedule), rtol=1e-6)
    again, same_waves = with_movable_bounds(movable)
    assert again is movable
    assert same_waves == waves
    waves[1].move(0.0, 0.1)
    np.testing.assert_allclose(rates(movable)[:19], rates(schedule)[:19], rtol=1e-6)
    np.testing.assert_allclose(rates(movable)[19:], rates(schedule)[19:] / 4, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(rates(without_moves(movable)), rates(schedule))


@pytest.mark.parametrize("rate", [0.1, S.LinearDecay(0.1, 10), S.OneCycle(0.1, 10)])
def test_nothing_to_move(rate):
    assert with_movable_bounds(rate) == (rate, [])


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (TypeError, lambda: Scaled(0.1)),
        (ValueError, lambda: Scaled(S.Constant(0.1), scale=-1.0)),
        (ValueError, lambda: Scaled(S.Constant(0.1), min_lr=np.nan)),
        (ValueError, lambda: setattr(Scaled(S.Constant(0.1)), "scale", np.inf)),
        (TypeError, lambda: Bounded(S.OneCycle(0.1, 10))),
        (ValueError, lambda: Bounded(S.Triangular(0.1, 0.4, 3), max_lr=0.05)),
        (ValueError, lambda: Bounded(S.Triangular(0.1, 0.4, 3)).move(0.2, 0.1)),
    ],
)
def test_bad_input(error, make):
    with pytest.raises(error, match=r"Argument `.*Received: "):
        make()


def test_a_later_warmup_climbs_to_where_the_moved_wave_begins():
    restarts = S.CosineAnnealingWarmRestarts(0.4, 10)
    schedule, waves = with_movable_bounds(
        S.Sequential([restarts, S.Warmup(restarts, 4, profile="linear")], [20])
    )
    for wave in waves:
        wave.move(0.0, 0.1)
    np.testing.assert_allclose(rates(schedule)[20:25], [0, 0.025, 0.05, 0.075, 0.1], atol=1e-7)
