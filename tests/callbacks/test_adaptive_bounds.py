"""AdaptiveBounds against its rule, followed step by step in float64."""

import math
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_cyclic as kc
from tests.backends import BACKEND, MOST_STEPS_PER_EXECUTION
from tests.callbacks.seen_rates import Calls, build, seen, train

S = kc.schedules
AdaptiveBounds = kc.callbacks.AdaptiveBounds


def tent(place, up, down):
    return place / up if place < up else (up + down - place) / down


def triangle(up, down, envelope=lambda cycle, step: 1.0):
    """For each step the cycle, and the rate between any bounds."""

    def of_step(step):
        cycle, place = divmod(step, up + down)
        height = tent(place, up, down) * envelope(cycle, step)
        return cycle, lambda base, top: base + (top - base) * height

    return of_step


def restarts(lengths, m_mul=1.0):
    def of_step(step):
        cycle, place = 0, step
        while place >= lengths[cycle]:
            place -= lengths[cycle]
            cycle += 1
        height = (1 + math.cos(math.pi * place / lengths[cycle])) / 2
        return cycle, lambda base, top: base + max(top * m_mul**cycle - base, 0.0) * height

    return of_step


def times(factor, of_step):
    def scaled(step):
        cycle, rate = of_step(step)
        return cycle, lambda base, top: factor * rate(base, top)

    return scaled


def after_climb(length, peak, of_step):
    def climbing(step):
        if step < length:
            return 0, lambda base, top: peak * step / length
        return of_step(step - length)

    return climbing


def joined(first, boundary, cycles_before, second):
    def of_step(step):
        if step < boundary:
            return first(step)
        cycle, rate = second(step - boundary)
        return cycles_before + cycle, rate

    return of_step


def simulate(of_step, bounds, values, steps_per_epoch, steps_at_once=1, **rule):
    """The rates of all steps, and how often a bound was moved; lower values are better."""
    factor, min_lr, bound = rule["factor"], rule["min_lr"], rule["bound"]
    base, top = bounds
    best, wait, of_cycle, cycle, moves, rates = None, 0, [], 0, 0, []

    def reach(step):
        nonlocal base, top, best, wait, of_cycle, cycle, moves
        if of_step(step)[0] == cycle:
            return
        cycle = of_step(step)[0]
        results = [value for value in of_cycle if not math.isnan(value)]
        better = results and (best is None or min(results) < best - rule["min_delta"])
        if better:
            best, wait = min(results), 0
        elif of_cycle:
            wait += 1
            if wait >= rule["patience"]:
                wait, old = 0, (base, top)
                if bound in ("base", "both") and base > min_lr:
                    base = max(base * factor, min_lr)
                if bound in ("max", "both") and top > min_lr:
                    top = max(top * factor, min_lr, base)
                moves += (base, top) != old
        of_cycle = []

    for epoch, value in enumerate(values):
        for batch in range(steps_per_epoch):
            step = epoch * steps_per_epoch + batch
            if batch % steps_at_once == 0:
                reach(step)
            rates.append(of_step(step)[1](base, top))
        reach(step)
        if value is not None:
            of_cycle.append(value)
        reach(step + 1)
    return np.array(rates), moves


RULE = {"factor": 0.5, "patience": 1, "min_lr": 0.0, "bound": "max", "min_delta": 1e-4}
BOUNDS = (0.02, 0.2)
LOW_HIGH = dict(zip(("base_lr", "max_lr"), BOUNDS))
WARM = S.CosineAnnealingWarmRestarts(0.2, 3, t_mul=2.0, m_mul=0.8, final_lr=0.02)

# Epochs have 4 steps. Each case: the schedule, its oracle, what differs from RULE, and how the
# model is compiled.
CASES = {
    "triangular, both": (
        S.Triangular(**LOW_HIGH, step_size=3, step_size_down=4),
        triangle(3, 4),
        {"bound": "both", "min_lr": 0.008, "factor": 0.6},
        {},
    ),
    "triangular2, several cycles an epoch": (
        S.Triangular2(**LOW_HIGH, step_size=1, step_size_down=2),
        triangle(1, 2, lambda cycle, step: 0.5**cycle),
        {},
        {},
    ),
    "exp range, compiled, 4 steps at once": (
        S.ExpRange(**LOW_HIGH, step_size=3, step_size_down=5, gamma=0.97),
        triangle(3, 5, lambda cycle, step: 0.97**step),
        {"bound": "base"},
        {"steps_per_execution": 4, "jit_compile": True},
    ),
    "warm restarts, growing and falling": (
        WARM,
        restarts([3, 6, 12, 24], 0.8),
        {"factor": 0.8},
        {},
    ),
    "warm-up, 2 steps at once": (
        S.Warmup(S.Triangular(**LOW_HIGH, step_size=2, step_size_down=4), 5),
        after_climb(5, 0.02, triangle(2, 4)),
        {"bound": "both", "patience": 2},
        {"steps_per_execution": 2},
    ),
    "product and sequence": (
        0.5 * S.Sequential([S.Triangular(**LOW_HIGH, step_size=3, step_size_down=4), WARM], [9]),
        times(0.5, joined(triangle(3, 4), 9, 2, restarts([3, 6, 12, 24], 0.8))),
        {"factor": 0.3, "min_lr": 0.01, "bound": "both"},
        {"jit_compile": True},
    ),
    "a cycle longer than the run": (
        S.Triangular(**LOW_HIGH, step_size=30),
        triangle(30, 30),
        {},
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_step_of_a_fit(case, capsys):
    schedule, of_step, differs, compile_arguments = CASES[case]
    values = [3.0, 2.0, 2.5, math.nan, 2.0, 2.0, 1.0, 1.0, 0.99995, 5.0]
    rule = {**RULE, **differs}
    at_once = min(compile_arguments.get("steps_per_execution", 1), MOST_STEPS_PER_EXECUTION)
    expected, moves = simulate(of_step, BOUNDS, values, 4, at_once, **rule)
    assert moves or case == "a cycle longer than the run"
    traces = []
    model = build(keras.optimizers.SGD(schedule), 40, traces=traces, **compile_arguments)
    watch = Calls(lambda: len(traces))
    logged = train(model, values, [AdaptiveBounds(**rule, verbose=1), watch], 4).history
    np.testing.assert_allclose(seen(model), expected, rtol=3e-6, atol=1e-8)
    if BACKEND == "tensorflow":
        assert set(watch.watched) == {1}
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) == moves
    assert all("AdaptiveBounds, after cycle" in line for line in lines)
    assert len(logged["learning_rate"]) == len(values)


def drive(callback, model, values, steps_per_epoch):
    """What `fit` does, without the training. Gives the rates that the steps would have had."""
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        for batch in range(steps_per_epoch):
            callback.on_train_batch_begin(batch)
            rates.append(float(model.optimizer.learning_rate))
            model.optimizer.iterations.assign_add(1)
            callback.on_train_batch_end(batch, {})
        logs = {} if value is None else {callback.monitor: value}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            callback.on_epoch_end(epoch, logs)
    return rates


@settings(max_examples=25)
@given(
    values=st.lists(
        st.one_of(st.none(), st.sampled_from([0.0, 0.5, 0.9, 1.0, math.nan, math.inf])),
        min_size=3,
        max_size=9,
    ),
    up=st.integers(1, 5),
    down=st.integers(1, 6),
    steps_per_epoch=st.integers(1, 5),
    bounds=st.sampled_from([(0.02, 0.2), (0.0, 0.1), (0.1, 0.1), (0.05, 0.08)]),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 3),
    min_lr=st.sampled_from([0.0, 0.01, 0.06, 0.3]),
    bound=st.sampled_from(["max", "base", "both"]),
    min_delta=st.sampled_from([0.0, 0.2]),
    down_is_better=st.booleans(),
)
def test_any_cycles_and_values(
    values, up, down, steps_per_epoch, bounds, down_is_better, **arguments
):
    expected, _ = simulate(triangle(up, down), bounds, values, steps_per_epoch, **arguments)
    model = build(keras.optimizers.SGD(S.Triangular(*bounds, up, down)), 1)
    mode = "min" if down_is_better else "max"
    if mode == "max":
        values = [None if value is None else -value for value in values]
    rates = drive(AdaptiveBounds(mode=mode, **arguments), model, values, steps_per_epoch)
    np.testing.assert_allclose(rates, expected, rtol=3e-6, atol=1e-8)


def test_what_is_printed(capsys):
    model = build(keras.optimizers.SGD(S.Triangular(0.02, 0.2, 2)), 1)
    callback = AdaptiveBounds(bound="both", min_lr=0.01, factor=0.25, verbose=1)
    drive(callback, model, [1.0, 1.0, 1.0, 1.0], 4)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [
        "Epoch 2: AdaptiveBounds, after cycle 2: base_lr from 0.02 to 0.01, max_lr from 0.2 to "
        "0.05.",
        "Epoch 3: AdaptiveBounds, after cycle 3: max_lr from 0.05 to 0.0125.",
        "Epoch 4: AdaptiveBounds, after cycle 4: max_lr from 0.0125 to 0.01.",
    ]


def test_groups():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("this Keras has no MultiOptimizer")
    shared = S.Triangular(0.02, 0.2, 1, 2)
    groups = {
        "first.*": keras.optimizers.SGD(shared),
        "second.*": keras.optimizers.SGD(0.5 * shared),
    }
    plain = keras.optimizers.SGD(0.1)
    optimizer = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(plain, groups))
    model = build(optimizer, 12, groups=("first", "second", "third"))
    values = [1.0, 1.0, 1.0]
    train(model, values, [AdaptiveBounds()], 4)
    rates, moves = simulate(triangle(1, 2), BOUNDS, values, 4, **RULE)
    assert moves == 2
    np.testing.assert_allclose(seen(model), [*rates, *rates / 2, *[0.1] * 12], rtol=3e-6)


@pytest.mark.parametrize(
    "rate",
    [
        0.1,
        lambda: 0.1,
        S.LinearDecay(0.1, 10),
        S.OneCycle(0.1, 4),
        keras.optimizers.schedules.CosineDecayRestarts(0.1, 2),
        S.Triangular(0.0, 0.1, 2) * S.Triangular(0.0, 0.1, 3),
    ],
)
def test_rates_without_cycles_that_can_move(rate):
    model = build(keras.optimizers.SGD(rate), 4)
    calls = Calls()
    with pytest.raises(ValueError, match=r"AdaptiveBounds .* Received: learning_rate="):
        train(model, [1.0], [calls, AdaptiveBounds()], 4)
    assert calls.batches == 0
    assert not seen(model).any()


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        *((ValueError, {"factor": bad}) for bad in (0, 1, 1.5, -0.1, math.nan)),
        *((ValueError, {name: -1}) for name in ("patience", "min_delta", "min_lr")),
        (ValueError, {"patience": 0.5}),
        *((ValueError, {name: math.nan}) for name in ("patience", "min_delta", "min_lr")),
        (ValueError, {"mode": "down"}),
        (ValueError, {"bound": "top"}),
        (TypeError, {"bound": None}),
        (TypeError, {"monitor": 1}),
    ],
)
def test_bad_input(error, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(error, match=f"Argument `{name}`") as caught:
        AdaptiveBounds(**arguments)
    assert f"{name}={value!r}" in str(caught.value)


def test_used_again_and_made_again():
    def new_model():
        return build(keras.optimizers.SGD(S.Triangular(0.02, 0.2, 2)), 1)

    callback = AdaptiveBounds(min_delta=0.1, patience=2)
    models = [new_model(), new_model()]
    bounded = []
    for model in (models[0], models[0], models[1]):
        drive(callback, model, [9.0, 9.0, 8.95, 8.95], 3)
        bounded.append(model.optimizer._learning_rate.max_lr)
    assert bounded == [0.1, 0.05, 0.1]
    assert models[0].optimizer._learning_rate.max_lr == 0.05
    made_again = type(callback).from_config(callback.get_config())
    assert made_again.get_config() == callback.get_config()
    # 0.1 is the least improvement still.
    drive(made_again, models[1], [9.0, 8.8, 8.6], 4)
    assert models[1].optimizer._learning_rate.max_lr == 0.1
