"""Schedules of drawn arguments: refused with a clear error, or finite and within their bounds.

A long run: `KERAS_CYCLIC_FUZZ_EXAMPLES=5000 pytest tests/fuzz/test_schedules.py`, which draws 5,000
configurations for each of the schedules, more than 100,000 in all.
"""

import inspect
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import keras_cyclic as kc
from keras_cyclic.schedules.adjustable import Bounded, Scaled
from keras_cyclic.schedules.delayed import Delayed
from keras_cyclic.schedules.schedule import KerasSchedule
from tests.fuzz import drawn

s = kc.schedules

LR = drawn.rates
ARGUMENTS = {
    s.Cyclical: {
        "base_lr": LR,
        "max_lr": LR,
        "step_size": drawn.lengths,
        "step_size_down": drawn.lengths | st.none(),
        "profile": drawn.profiles,
        "scale_fn": st.sampled_from(["constant", "halve", drawn.falling_scale]),
        "scale_mode": st.sampled_from(["cycle", "iterations"]),
    },
    s.Triangular: {
        "base_lr": LR,
        "max_lr": LR,
        "step_size": drawn.lengths,
        "step_size_down": drawn.lengths | st.none(),
    },
    s.ExpRange: {
        "base_lr": LR,
        "max_lr": LR,
        "step_size": drawn.lengths,
        "gamma": drawn.factors,
        "step_size_down": drawn.lengths | st.none(),
    },
    s.OneCycle: {
        "max_lr": LR,
        "total_steps": drawn.lengths,
        "pct_start": drawn.shares,
        "div_factor": drawn.growths,
        "final_div_factor": drawn.growths | drawn.shares,
        "profile": drawn.profiles | st.tuples(drawn.profiles, drawn.profiles),
        "three_phase": drawn.booleans,
    },
    s.Decay: {
        "initial_lr": LR,
        "final_lr": LR,
        "decay_steps": drawn.lengths,
        "profile": drawn.profiles,
    },
    s.LinearDecay: {"initial_lr": LR, "decay_steps": drawn.lengths, "final_lr": LR},
    s.PolynomialDecay: {
        "initial_lr": LR,
        "decay_steps": drawn.lengths,
        "final_lr": LR,
        "power": st.floats(1e-3, 1e3),
    },
    s.REX: {
        "initial_lr": LR,
        "decay_steps": drawn.lengths,
        "final_lr": LR,
        "beta": st.floats(1e-6, 1.0),
    },
    s.StepDecay: {"initial_lr": LR, "step_size": drawn.lengths, "gamma": drawn.factors},
    s.MultiStepDecay: {
        "initial_lr": LR,
        "milestones": st.lists(drawn.lengths, max_size=5).map(sorted)
        | st.lists(drawn.mostly(drawn.lengths), max_size=3),
        "gamma": drawn.factors,
    },
    s.ExponentialDecay: {
        "initial_lr": LR,
        "decay_steps": drawn.lengths,
        "decay_rate": drawn.factors,
    },
    s.InverseSquareRootDecay: {"initial_lr": LR, "decay_steps": drawn.lengths},
    s.CosineAnnealingWarmRestarts: {
        "initial_lr": LR,
        "first_decay_steps": drawn.lengths,
        "t_mul": drawn.growths,
        "m_mul": drawn.factors,
        "final_lr": LR,
        "profile": drawn.profiles,
    },
    s.WarmupStableDecay: {
        "max_lr": LR,
        "warmup_steps": drawn.lengths,
        "stable_steps": drawn.lengths,
        "decay_steps": drawn.lengths,
        "final_lr": LR,
        "decay_profile": drawn.profiles,
    },
    s.Constant: {"lr": LR},
}
ARGUMENTS[s.Triangular2] = ARGUMENTS[s.Triangular]
ARGUMENTS[s.CosineAnnealing] = ARGUMENTS[s.LinearDecay]

THEIRS = [
    keras.optimizers.schedules.CosineDecay(0.1, 10),
    keras.optimizers.schedules.PiecewiseConstantDecay([5, 9], [0.1, 0.05, 0.01]),
    drawn.TakenStep(),
]


def accepted(cls, strategies):
    """Schedules of arguments in order, and None for arguments that do not fit each other."""

    def build(arguments):
        try:
            return cls(**arguments)
        except ValueError:
            return None

    return st.fixed_dictionaries(strategies).map(build)


def some_of(cls):
    return accepted(cls, ARGUMENTS[cls]).filter(lambda schedule: schedule is not None)


waves = st.one_of(*map(some_of, (s.Cyclical, s.OneCycle, s.CosineAnnealingWarmRestarts, s.Decay)))
ours = st.one_of(waves, some_of(s.MultiStepDecay), some_of(s.Constant))
parts = st.recursive(
    # Theirs are slow to evaluate at many steps, and so are rare.
    st.integers(0, 15).flatmap(lambda n: st.sampled_from(THEIRS) if n == 15 else ours),
    lambda inner: st.one_of(
        accepted(s.Warmup, {"schedule": inner, "warmup_steps": drawn.lengths}),
        accepted(s.Sampled, {"schedule": inner, "every": drawn.lengths}),
        accepted(s.Product, {"schedule": inner, "factor": inner | drawn.rates}),
    ).filter(lambda schedule: schedule is not None),
    max_leaves=3,
)
ARGUMENTS |= {
    s.Warmup: {
        "schedule": parts,
        "warmup_steps": drawn.lengths,
        "initial_lr": LR | st.just(0.0),
        "profile": drawn.profiles,
    },
    s.Sequential: {
        "schedules": st.lists(drawn.mostly(parts), min_size=2, max_size=2),
        "boundaries": st.lists(drawn.mostly(drawn.lengths), min_size=1, max_size=1),
    },
    s.Sampled: {"schedule": parts, "every": drawn.lengths},
    s.Product: {"schedule": parts, "factor": parts | LR},
    Scaled: {"schedule": parts, "scale": LR, "min_lr": LR},
    Bounded: {"wave": waves, "base_lr": LR | st.none(), "max_lr": LR | st.none()},
    Delayed: {"schedule": waves, "delay": drawn.lengths},
}
every_class = pytest.mark.parametrize("cls", ARGUMENTS, ids=lambda cls: cls.__name__)


def test_every_public_schedule_is_drawn():
    assert {getattr(s, name) for name in s.__all__} - {s.Schedule, s.Wave} <= set(ARGUMENTS)


def bounds(schedule):
    """The lowest and the highest rate, from the meaning of the arguments."""
    if isinstance(schedule, s.Cyclical) and schedule.scale_fn is drawn.falling_scale:
        return schedule.base_lr, schedule.max_lr
    if isinstance(schedule, s.OneCycle):
        return 0.0, schedule.max_lr
    if isinstance(schedule, (s.Cyclical, Bounded)):
        return schedule.base_lr, schedule.max_lr
    if isinstance(schedule, (s.Decay, s.CosineAnnealingWarmRestarts)):
        return schedule.final_lr, schedule.initial_lr
    if isinstance(schedule, s.WarmupStableDecay):
        return 0.0, schedule.max_lr
    if isinstance(schedule, s.Constant):
        return schedule.lr, schedule.lr
    if isinstance(schedule, s.Warmup):
        low, high = bounds(schedule.schedule)
        return min(low, schedule.initial_lr), high
    if isinstance(schedule, s.Sequential):
        lows, highs = zip(*map(bounds, schedule.schedules))
        return min(lows), max(highs)
    if isinstance(schedule, (s.Sampled, Delayed)):
        return bounds(schedule.schedule)
    if isinstance(schedule, s.Product):
        factor = schedule.factor
        low, high = bounds(factor) if isinstance(factor, KerasSchedule) else (factor, factor)
        return tuple(a * b for a, b in zip(bounds(schedule.schedule), (low, high)))
    if isinstance(schedule, Scaled):
        low, high = bounds(schedule.schedule)
        return min(low, low * schedule.scale), max(high, high * schedule.scale)
    if schedule in THEIRS:
        return 0.0, 0.1
    return 0.0, schedule.initial_lr


def numbers_in(config):
    if isinstance(config, dict):
        return [number for value in config.values() for number in numbers_in(value)]
    if isinstance(config, list):
        return [number for value in config for number in numbers_in(value)]
    return [config] if isinstance(config, int) and not isinstance(config, bool) else []


def steps_of(schedule, more):
    """Steps where a schedule may break, and drawn ones."""
    steps = {0, 1, 2, 2**24 + 1, 2**31 - 1, 2**31, 2**53 - 1, 2**53, *more}
    for length in numbers_in(schedule.get_config())[:12]:
        steps |= {length - 1, length, length + 1, 2 * length, 2 * length - 1, 3 * length}
    return np.array(sorted(step for step in steps if 0 <= step <= 2**53))


def check_values(schedule, more=()):
    steps = steps_of(schedule, more)
    values = keras.ops.convert_to_numpy(schedule(steps)).astype("float64")
    assert values.shape == steps.shape
    assert np.isfinite(values).all(), (schedule, dict(zip(steps.tolist(), values.tolist())))
    low, high = bounds(schedule)
    # Three roundings of float32, and its smallest numbers, which a processor may take for 0.
    room = 2e-6 * min(high, 3e38) + 1e-37
    inside = (values >= low - room) & (values <= high + room)
    assert inside.all(), (schedule, low, high, dict(zip(steps.tolist(), values.tolist())))
    return steps, values


def check_round_trip(schedule, steps, values):
    config = schedule.get_config()
    again = type(schedule).from_config(json.loads(json.dumps(config, allow_nan=False)))
    assert again.get_config() == config
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(steps)), np.float32(values))
    assert repr(again) == repr(schedule)


@every_class
@drawn.examples()
@given(data=st.data())
def test_arguments(cls, data):
    arguments = data.draw(
        st.fixed_dictionaries({k: drawn.mostly(good) for k, good in ARGUMENTS[cls].items()})
    )
    more = data.draw(st.lists(st.integers(0, 2**53), max_size=2))
    schedule = drawn.made(cls, [*arguments, "t_mul"], **arguments)
    if schedule is not None:
        with drawn.watched():
            steps, values = check_values(schedule, more)
            check_round_trip(schedule, steps, values)
