"""Which momentum CyclicalMomentum sets at which step, for which optimizers, and what it refuses."""

import json
import pathlib

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import compile_arguments

RECORDED = json.loads(
    (pathlib.Path(__file__).parents[1] / "oracles" / "torch_momenta.json").read_text()
)["cases"]


def schedule_like(scheduler, a):
    if scheduler == "OneCycleLR":
        return kc.schedules.OneCycle(
            a["max_lr"],
            a["total_steps"],
            a["pct_start"],
            profile={"cos": "cosine", "linear": "linear"}[a["anneal_strategy"]],
            three_phase=a["three_phase"],
        )
    make = {
        "triangular": kc.schedules.Triangular,
        "triangular2": kc.schedules.Triangular2,
        "exp_range": lambda low, high, up, down: kc.schedules.ExpRange(
            low, high, up, a["gamma"], down
        ),
    }[scheduler.removeprefix("CyclicLR/")]
    return make(a["base_lr"], a["max_lr"], a["step_size_up"], a["step_size_down"])


def compiled(optimizer, **kwargs):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", run_eagerly=False, **compile_arguments(**kwargs))
    return model


def momenta_of_fit(model, read, steps, callback):
    """What another callback reads before each of the steps of one `fit`."""
    values = []
    reader = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: values.append(read(model.optimizer))
    )
    x, y = np.ones((steps, 2)), np.ones((steps, 1))
    model.fit(x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[callback, reader])
    return values


def case_name(case):
    phases = ["", "/three"][case["arguments"].get("three_phase", False)]
    return f"{case['scheduler']}{phases}/{['sgd', 'adam'][case['adam']]}"


@pytest.mark.parametrize("case", RECORDED, ids=case_name)
def test_equal_to_torch_at_every_step(case):
    arguments = case["arguments"]
    schedule = schedule_like(case["scheduler"], arguments)
    optimizer = (
        keras.optimizers.Adam(schedule)
        if case["adam"]
        else keras.optimizers.SGD(schedule, momentum=0.9)
    )
    callback = kc.callbacks.CyclicalMomentum(arguments["base_momentum"], arguments["max_momentum"])
    (target,) = callback.targets([optimizer])
    assert target.name == ("beta_1" if case["adam"] else "momentum")
    ours = target.value(keras.ops.arange(len(case["momenta"])))
    np.testing.assert_allclose(ours, case["momenta"], rtol=0, atol=2e-7)


def test_read_in_fit_equals_torch_at_every_step():
    case = next(case for case in RECORDED if case["scheduler"] == "CyclicLR/exp_range")
    arguments = case["arguments"]
    schedule = schedule_like(case["scheduler"], arguments)
    model = compiled(keras.optimizers.SGD(schedule, momentum=0.9))
    callback = kc.callbacks.CyclicalMomentum(arguments["base_momentum"], arguments["max_momentum"])
    seen = momenta_of_fit(model, lambda o: o.momentum, len(case["momenta"]), callback)
    assert all(type(value) is float for value in seen)
    np.testing.assert_allclose(seen, case["momenta"], rtol=0, atol=2e-7)


def test_three_phases_end_at_the_highest_momentum():
    schedule = kc.schedules.OneCycle(0.1, 100, pct_start=0.4, three_phase=True)
    (target,) = kc.callbacks.CyclicalMomentum().targets([keras.optimizers.Adam(schedule)])
    tail = np.asarray(target.value(keras.ops.arange(78, 100)))
    np.testing.assert_array_equal(tail, np.float32(0.95))


WAVE = kc.schedules.Triangular(0.01, 0.1, 5)


def expected_momenta(steps):
    return [0.95 - 0.1 * min(t % 10, 10 - t % 10) / 5 for t in range(steps)]


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (keras.optimizers.SGD(WAVE, momentum=0.9), "momentum"),
        (keras.optimizers.RMSprop(WAVE, momentum=0.9), "momentum"),
        (keras.optimizers.Adamax(WAVE), "beta_1"),
        (keras.optimizers.Lion(WAVE), "beta_1"),
        (keras.optimizers.SGD(0.5 * (WAVE * 0.1), momentum=0.9), "momentum"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_picks_the_hyperparameter_and_follows_the_rate(optimizer, name):
    (target,) = kc.callbacks.CyclicalMomentum().targets([optimizer])
    assert target.name == name
    values = np.asarray(target.value(keras.ops.arange(25)))
    np.testing.assert_allclose(values, expected_momenta(25), atol=1e-6)


def test_follows_a_given_wave_with_a_plain_rate():
    model = compiled(keras.optimizers.Adam(0.01))
    callback = kc.callbacks.CyclicalMomentum(schedule=WAVE)
    seen = momenta_of_fit(model, lambda o: o.beta_1, 12, callback)
    np.testing.assert_allclose(seen, expected_momenta(12), atol=1e-6)


def test_goes_on_where_the_last_fit_stopped():
    model = compiled(keras.optimizers.SGD(WAVE, momentum=0.9))
    callback = kc.callbacks.CyclicalMomentum()
    seen = [momenta_of_fit(model, lambda o: o.momentum, 7, callback) for _ in range(3)]
    np.testing.assert_allclose(np.concatenate(seen), expected_momenta(21), atol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (keras.optimizers.SGD(0.1, momentum=0.9), r"no wave.*Pass CyclicalMomentum\(schedule="),
        (
            keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10), momentum=0.9),
            r"no wave.*HyperparameterSchedule.*CosineDecay\(",
        ),
        (keras.optimizers.SGD(kc.schedules.Warmup(WAVE, 3), momentum=0.9), "no wave"),
        (keras.optimizers.SGD(WAVE), "no momentum slots.*build it with a positive one"),
        (keras.optimizers.RMSprop(WAVE), "no momentum slots"),
        (keras.optimizers.Adagrad(WAVE), "Adagrad has no momentum to cycle"),
    ],
    ids=["plain", "keras", "warmup", "sgd_0", "rmsprop_0", "adagrad"],
)
def test_refuses_at_the_start_of_fit(optimizer, message):
    model = compiled(optimizer)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(
            np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[kc.callbacks.CyclicalMomentum()]
        )
    assert int(model.optimizer.iterations) == 0
    for ours, theirs in zip(model.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"base_momentum": 0.96}, ValueError, "`base_momentum` must not be above `max_momentum`"),
        ({"max_momentum": 1.0}, ValueError, "`max_momentum` must be .*below 1.*max_momentum=1.0"),
        ({"base_momentum": -0.1}, ValueError, "`base_momentum` must be"),
        ({"base_momentum": float("nan")}, ValueError, "`base_momentum` must be"),
        ({"max_momentum": "0.9"}, TypeError, "`max_momentum` must be"),
        ({"base_momentum": True}, TypeError, "`base_momentum` must be"),
        ({"schedule": 0.9}, TypeError, "`schedule` must be"),
        ({"schedule": kc.schedules.Constant(0.1)}, ValueError, "`schedule` must be one of"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        kc.callbacks.CyclicalMomentum(**arguments)


def test_config_round_trip():
    callback = kc.callbacks.CyclicalMomentum(0.8, 0.9, WAVE)
    config = keras.saving.serialize_keras_object(callback)
    again = keras.saving.deserialize_keras_object(config)
    assert repr(again) == repr(callback)
    assert "base_momentum=0.8" in repr(again)
