"""Schedules of drawn arguments: refused with a clear error, or finite and within their bounds.

A long run: `KERAS_CYCLIC_FUZZ_EXAMPLES=5000 pytest tests/fuzz/test_schedules.py`, which draws 5,000
configurations for each of the schedules, more than 100,000 in all.
"""

import contextlib
import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import keras_cyclic as kc
from keras_cyclic.schedules.adjustable import Bounded
from keras_cyclic.schedules.delayed import Delayed
from keras_cyclic.schedules.schedule import KerasSchedule
from tests.backends import BACKEND, LARGEST_STEP, compiled, step_tensor
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


LOW, HIGH = st.sampled_from([0.0, 1e-45, 1e-7, 0.1]), st.floats(0.1, 10.0) | st.just(1e30)
waves = st.one_of(
    st.builds(
        s.Cyclical,
        LOW,
        HIGH,
        drawn.lengths,
        drawn.lengths | st.none(),
        drawn.profiles,
        ARGUMENTS[s.Cyclical]["scale_fn"],
    ),
    st.builds(s.OneCycle, HIGH, drawn.lengths, drawn.shares, three_phase=drawn.booleans),
    st.builds(
        s.CosineAnnealingWarmRestarts,
        HIGH,
        drawn.lengths,
        st.sampled_from([1, 1.5, 2, 1e9]),
        drawn.factors,
        LOW,
        drawn.profiles,
    ),
    st.builds(s.Decay, HIGH, LOW, drawn.lengths, drawn.profiles),
)
simple = st.one_of(
    waves,
    st.builds(s.Constant, HIGH),
    st.builds(s.MultiStepDecay, HIGH, st.sets(drawn.lengths, max_size=3).map(sorted)),
    # Theirs are slow to evaluate at many steps, and so are rare.
    st.integers(0, 15).flatmap(lambda n: st.sampled_from(THEIRS) if n == 15 else waves),
)
parts = st.one_of(
    simple,
    st.builds(s.Warmup, simple, drawn.lengths, profile=drawn.profiles),
    st.builds(s.Sampled, simple, drawn.lengths),
    st.builds(s.Product, simple, LOW),
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
        ours = bounds(schedule.schedule)
        theirs = bounds(factor) if isinstance(factor, KerasSchedule) else (factor, factor)
        low, high = (a * b for a, b in zip(ours, theirs))
        # A processor may take the smallest numbers of float32 for 0.
        return (0.0 if min(ours[0], theirs[0]) < 1.2e-38 else low), high
    if not isinstance(schedule, s.Schedule):
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
    return np.array(sorted(step for step in steps if 0 <= step <= LARGEST_STEP))


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


@drawn.examples(0.2)
@given(schedule=parts)
def test_compiled(schedule):
    steps = steps_of(schedule, [])
    if BACKEND == "tensorflow":
        function = tf.function(schedule, input_signature=[tf.TensorSpec([None], "int64")])
    else:
        function = compiled(schedule)
    values = keras.ops.convert_to_numpy(function(step_tensor(steps)))
    eager = keras.ops.convert_to_numpy(schedule(steps))
    np.testing.assert_allclose(values, eager, rtol=2e-6, atol=2e-6 * float(eager.max()))


HOSTILE_PARTS = [
    {},
    {"class_name": "Cyclical"},
    {"class_name": "No", "config": {}, "module": None, "registered_name": "keras_cyclic>No"},
    {"class_name": "Constant", "config": {"lr": float("nan")}, "registered_name": "Constant"},
    {
        "class_name": "Constant",
        "config": {"lr": -1.0},
        "module": "keras_cyclic.schedules",
        "registered_name": "keras_cyclic>Constant",
    },
    {"class_name": None, "config": None},
    {"class_name": ["list"], "config": {"a": {}}},
    {"class_name": "function", "config": "squared", "registered_name": "fuzz>squared"},
]


def in_itself(config, depth):
    """A serialized schedule in the place of its own part, many times over."""
    part = {
        "class_name": "Sampled",
        "module": "keras_cyclic.schedules.composition",
        "registered_name": "keras_cyclic>Sampled",
        "config": config,
    }
    for _ in range(depth):
        part = part | {"config": {"schedule": part, "every": 3}}
    return part


@st.composite
def mutated(draw, config):
    """A config with keys missing, added or given other values, at any depth."""
    config = json.loads(json.dumps(config))
    for _ in range(draw(st.integers(1, 3))):
        place = config
        while True:
            inside = [value for value in place.values() if isinstance(value, dict) and value]
            if not inside or draw(st.booleans()):
                break
            place = draw(st.sampled_from(inside))
        key = draw(st.sampled_from([*place, "extra", ""]))
        action = draw(st.sampled_from(["drop", "junk", "part", "deep", "text"]))
        if action == "drop":
            place.pop(key, None)
        elif action == "junk":
            place[key] = draw(drawn.config_junk)
        elif action == "part":
            place[key] = draw(st.sampled_from(HOSTILE_PARTS))
        elif action == "deep":
            place[key] = in_itself({"schedule": None, "every": 1}, draw(st.integers(1, 60)))
        else:
            place[key] = draw(st.text(max_size=5))
    return config


def from_config(cls, config):
    # Nothing that a file can hold is deep enough to recurse without end, but a dict can be.
    with drawn.watched(), contextlib.suppress(ValueError, TypeError, RecursionError):
        return cls.from_config(config)
    return None


@every_class
@drawn.examples()
@given(data=st.data())
def test_configs(cls, data):
    good = {**ARGUMENTS[cls]}
    names = inspect.signature(cls).parameters
    arguments = data.draw(st.fixed_dictionaries(good))
    try:
        config = cls(**arguments).get_config()
    except (ValueError, TypeError):
        return
    assert set(config) == set(names)
    schedule = from_config(cls, data.draw(mutated(config)))
    if schedule is not None:
        with drawn.watched():
            steps, values = check_values(schedule)
            check_round_trip(schedule, steps, values)


def test_a_config_in_a_config_in_a_config():
    deep = in_itself(kc.schedules.Sampled(kc.schedules.Constant(0.1), 3).get_config(), 30)
    schedule = from_config(s.Sampled, deep["config"])
    assert float(schedule(100)) == np.float32(0.1)
    assert from_config(s.Sampled, {"every": 3, "schedule": in_itself({}, 5000)}) is None
    itself = in_itself({"every": 3}, 0)
    itself["config"]["schedule"] = itself
    assert from_config(s.Sampled, itself["config"]) is None
