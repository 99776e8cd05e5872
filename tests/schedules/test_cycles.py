"""When cycles begin: against the places where the rates of a schedule jump or turn."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_cyclic as kc

S = kc.schedules
TRIANGULAR = S.Triangular(0.0, 1.0, 3, 2)


def starts(schedule, until):
    """The first steps of all cycles before `until`, by `start`, checked against `index`."""
    cycles = schedule.cycles()
    by_index = [cycles.index(step) for step in range(until)]
    by_start = []
    for index in range(by_index[-1] + 1):
        by_start.append(cycles.start(index))
    counted = [sum(start <= step for start in by_start) - 1 for step in range(until)]
    assert by_index == counted
    return by_start


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (TRIANGULAR, [0, 5, 10, 15, 20, 25]),
        (0.5 * TRIANGULAR, [0, 5, 10, 15, 20, 25]),
        (TRIANGULAR * S.StepDecay(1.0, 7), [0, 5, 10, 15, 20, 25]),
        (S.CosineAnnealingWarmRestarts(1.0, 4), [0, 4, 8, 12, 16, 20, 24, 28]),
        (S.CosineAnnealingWarmRestarts(1.0, 5, t_mul=1.5), [0, 5, 13, 24]),
        (S.OneCycle(1.0, 12), [0, 12]),
        (S.Warmup(TRIANGULAR, 7), [0, 12, 17, 22, 27]),
        (S.Sampled(TRIANGULAR, 3), [0, 6, 12, 15, 21, 27]),
        (S.Sequential([TRIANGULAR, S.Constant(1.0), S.OneCycle(1.0, 6)], [12, 15]),
         [0, 5, 10, 12, 15, 21]),
    ],
    ids=str,
)  # fmt: skip
def test_starts(schedule, expected):
    assert starts(schedule, 30) == expected


def test_an_end_that_never_comes():
    assert S.OneCycle(1.0, 12).cycles().start(2) is None
    joined = S.Sequential([TRIANGULAR, S.LinearDecay(1.0, 10)], [7]).cycles()
    assert [joined.start(index) for index in range(4)] == [0, 5, 7, None]


@pytest.mark.parametrize(
    "schedule",
    [
        S.LinearDecay(1.0, 10),
        S.Constant(1.0),
        S.Warmup(S.Constant(1.0), 5),
        S.Sequential([S.Constant(1.0), S.Constant(0.5)], [3]),
        S.Warmup(keras.optimizers.schedules.CosineDecayRestarts(0.1, 4), 5),
        TRIANGULAR * S.Triangular(0.0, 1.0, 3, 3),
    ],
    ids=str,
)
def test_no_cycles(schedule):
    assert schedule.cycles() is None


@given(first=st.integers(2, 50), t_mul=st.floats(1.0, 3.0))
def test_a_restart_is_where_the_rate_jumps_up(first, t_mul):
    try:
        schedule = S.CosineAnnealingWarmRestarts(1.0, first, t_mul=t_mul)
    except ValueError:
        return
    rates = keras.ops.convert_to_numpy(schedule(np.arange(400)))
    jumps = [0, *(np.flatnonzero(np.diff(rates) > 0) + 1).tolist()]
    assert starts(schedule, 400) == jumps
