"""Profiles, callbacks and functions of drawn arguments: refused with a clear error, or made."""

import contextlib
import inspect
import json
import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_cyclic as kc
from tests.fuzz import drawn

c = kc.callbacks
positives = st.sampled_from([0.5, 1, 1e-300, 1e30]) | st.floats(1e-6, 1e6)
momenta = st.floats(0.0, 1.0, exclude_max=True)
names = st.sampled_from(["loss", "val_loss", "momentum", ""])
schedules = st.sampled_from([kc.schedules.Triangular(0.1, 0.2, 3), kc.schedules.OneCycle(0.1, 9)])

CALLBACKS = {
    c.LRRangeTest: {
        "min_lr": positives,
        "max_lr": positives,
        "steps": st.integers(10, 100),
        "spacing": st.sampled_from(["linear", "exponential"]),
        "smoothing": drawn.shares | st.just(0),
        "stop_factor": positives,
        "restore": drawn.booleans,
        "validation_every": drawn.lengths,
    },
    c.HyperparameterSchedule: {"name": names, "schedule": schedules},
    c.CyclicalMomentum: {
        "base_momentum": momenta,
        "max_momentum": momenta,
        "schedule": schedules | st.none(),
    },
    c.ReduceLROnPlateau: {
        "monitor": names,
        "factor": drawn.shares,
        "patience": drawn.counts,
        "mode": drawn.modes,
        "min_delta": positives,
        "cooldown": drawn.counts,
        "min_lr": drawn.rates,
        "at_cycle_ends": drawn.booleans,
    },
    c.AdaptiveBounds: {
        "monitor": names,
        "factor": drawn.shares,
        "patience": drawn.counts,
        "mode": drawn.modes,
        "min_delta": positives,
        "min_lr": drawn.rates,
        "bound": st.sampled_from(["max", "base", "both"]),
    },
    c.CycleEarlyStopping: {
        "monitor": names,
        "min_delta": positives | st.just(0),
        "patience": drawn.counts,
        "mode": drawn.modes,
        "baseline": st.none() | positives,
        "restore_best_weights": drawn.booleans,
        "start_from_epoch": drawn.counts,
    },
    c.SnapshotEnsemble: {
        "filepath": st.sampled_from(
            ["{cycle}.keras", "a/{cycle:03d}.keras", "x.keras", "{", "{0}"]
        ),
        "schedule": schedules | st.none(),
        "keep": drawn.lengths | st.none(),
    },
    c.LearningRateMonitor: {"per_step": drawn.booleans},
    c.LossDiagnostics: {
        "patience": drawn.lengths,
        "min_fall": positives,
        "max_rise": positives,
        "max_validation_rise": positives,
        "max_jump": positives,
        "schedule": schedules | st.none(),
    },
}
PROFILES = {
    kc.profiles.Exponential: {"rate": st.floats(1e-6, 80.0), "normalize": drawn.booleans},
    kc.profiles.REX: {"beta": st.floats(1e-6, 1.0)},
    kc.profiles.Polynomial: {"power": st.floats(1e-3, 1e3)},
}


def arguments_of(strategies):
    return st.fixed_dictionaries({k: drawn.mostly(good) for k, good in strategies.items()})


def test_every_public_callback_and_profile_is_drawn():
    assert {getattr(c, name) for name in c.__all__} == set(CALLBACKS)
    for cls, strategies in (CALLBACKS | PROFILES).items():
        # What is left out: data and `verbose`, which Keras reads.
        left_out = set(inspect.signature(cls).parameters) - set(strategies)
        assert left_out <= {
            "verbose",
            "monitor",
            "validation_data",
            "validation_batch_size",
            "validation_steps",
        }


@pytest.mark.parametrize("cls", CALLBACKS, ids=lambda cls: cls.__name__)
@drawn.examples()
@given(data=st.data())
def test_callbacks(cls, data):
    arguments = data.draw(arguments_of(CALLBACKS[cls]))
    callback = drawn.made(cls, arguments, **arguments)
    if callback is None:
        return
    for name in arguments:
        if hasattr(callback, name):
            kept = getattr(callback, name)
            assert not isinstance(kept, float) or math.isfinite(kept)
    if hasattr(callback, "get_config"):
        config = json.loads(json.dumps(callback.get_config(), allow_nan=False))
        assert cls.from_config(config).get_config() == config
        name = data.draw(st.sampled_from([*config, "extra"]))
        with drawn.watched(), contextlib.suppress(ValueError, TypeError):
            cls.from_config(config | {name: data.draw(drawn.config_junk)})


@pytest.mark.parametrize("cls", PROFILES, ids=lambda cls: cls.__name__)
@drawn.examples(2)
@given(data=st.data())
def test_profiles(cls, data):
    arguments = data.draw(arguments_of(PROFILES[cls]))
    profile = drawn.made(cls, arguments, **arguments)
    if profile is None:
        return
    z = np.float32([0.0, 1e-45, 1e-7, 0.5, 1 - 2**-24, 1.0])
    for curve in (profile, profile.remaining):
        share = keras.ops.convert_to_numpy(curve(keras.ops.convert_to_tensor(z)))
        assert np.isfinite(share).all()
        assert (share >= -1e-6).all()
        assert (share <= 1 + 1e-6).all()
        assert (np.diff(share) >= -1e-6).all()
    config = json.loads(json.dumps(profile.get_config()))
    assert cls.from_config(config).get_config() == profile.get_config()


@drawn.examples(3)
@given(identifier=drawn.mostly(drawn.profiles) | drawn.junk | st.text(max_size=9))
def test_get_of_a_profile(identifier):
    profile = drawn.made(kc.profiles.get, ["profile"], identifier)
    assert profile is None or callable(profile)


@drawn.examples(3)
@given(
    multipliers=drawn.junk
    | st.dictionaries(
        st.sampled_from(["a", ".*", "(", "x" * 5000, "\0", "{name}"]) | st.text(max_size=4),
        drawn.mostly(drawn.rates),
        max_size=3,
    ),
    default=drawn.mostly(drawn.rates),
)
def test_multipliers(multipliers, default):
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("`MultiOptimizer` came with Keras 3.15")
    optimizer = drawn.made(
        kc.optimizers.layerwise,
        ["multipliers", "default"],
        keras.optimizers.SGD(0.1),
        multipliers,
        default,
    )
    if optimizer is not None:
        assert all(math.isfinite(float(group.learning_rate)) for group in optimizer.optimizers)


@drawn.examples()
@given(optimizer=drawn.junk, model=drawn.junk, decay=drawn.mostly(drawn.factors))
def test_other_arguments_of_layerwise_optimizers(optimizer, model, decay):
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("`MultiOptimizer` came with Keras 3.15")
    drawn.made(kc.optimizers.layerwise, ["optimizer"], optimizer, {"a": 1.0})
    assert drawn.made(kc.optimizers.layerwise_decay, ["model"], model, decay) is None


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    # What gets past the checks comes to this, and not to a training.
    model.fit = reached
    return model


def reached(*args, **kwargs):
    raise ValueError("`fit` is reached")


NEVER = {
    "epochs": drawn.lengths,
    "max_lr": st.just(0.1),
    "pct_start": drawn.shares,
    "div_factor": drawn.growths,
    "final_div_factor": drawn.growths,
    "profile": drawn.profiles,
    "three_phase": drawn.booleans,
    "cycle_momentum": drawn.booleans,
    "base_momentum": momenta,
    "max_momentum": momenta,
    "validation_split": drawn.shares,
    "initial_epoch": drawn.counts,
}


@drawn.examples(4)
@given(data=st.data())
def test_arguments_of_fit_one_cycle(model, data):
    """One argument is junk: whatever the checks let through ends at the first batch."""
    arguments = {name: data.draw(good) for name, good in NEVER.items()}
    arguments["callbacks"] = None
    name = data.draw(st.sampled_from([*arguments, "model"]))
    arguments[name] = data.draw(drawn.junk)
    trained = arguments.pop("model", model)
    drawn.made(
        kc.fit_one_cycle,
        [*arguments, "model", "fit"],
        trained,
        np.ones((4, 2)),
        np.ones((4, 1)),
        verbose=0,
        **arguments,
    )


@drawn.examples()
@given(data=st.data())
def test_arguments_of_the_range_test(data):
    arguments = data.draw(arguments_of(CALLBACKS[c.LRRangeTest]))
    name = data.draw(st.sampled_from(list(arguments)))
    arguments[name] = data.draw(drawn.junk)
    model = keras.Sequential([keras.layers.Dense(1)])
    # The model is not compiled, so that no training comes after the checks.
    with drawn.watched(), pytest.raises((ValueError, TypeError)) as raised:
        kc.lr_range_test(model, np.ones((4, 2)), **arguments)
    assert any(f"`{name}`" in str(raised.value) for name in [*arguments, "model"]) or (
        "compile" in str(raised.value)
    )


@drawn.examples(2)
@given(data=st.data())
def test_arguments_of_a_plot(data):
    pytest.importorskip("matplotlib")
    arguments = {
        "schedule_or_dict": st.just(kc.schedules.OneCycle(0.1, 9)) | st.just({"a": 1}),
        "steps": st.integers(1, 9),
        "momentum": st.tuples(momenta, momenta) | st.none() | st.just([0.1]),
        "steps_per_epoch": drawn.lengths,
        "yscale": st.sampled_from(["linear", "log"]),
    }
    arguments = {name: data.draw(good) for name, good in arguments.items()}
    name = data.draw(st.sampled_from([*arguments, "ax"]))
    arguments[name] = data.draw(drawn.junk)
    if name == "ax" and arguments["ax"] is None:
        return
    import matplotlib.pyplot as plt

    # Only the checks: a picture takes a tenth of a second.
    arguments.setdefault("ax", "no Axes")
    expected = [*arguments, "base_momentum", "max_momentum"]
    assert drawn.made(kc.plot_schedule, expected, **arguments) is None
    plt.close("all")


@drawn.examples(2)
@given(rates=drawn.mostly(st.lists(drawn.rates, max_size=3)), losses=drawn.junk, other=drawn.junk)
def test_range_test_results(rates, losses, other):
    expected = ["learning_rates", "losses", "diverged"]
    drawn.made(kc.RangeTestResult, expected, rates, losses)
    drawn.made(kc.RangeTestResult, expected, [0.1, 0.2], [1.0, 2.0], other)
    result = kc.RangeTestResult([0.1, 0.2], [1.0, math.nan])
    assert drawn.made(result.suggest, ["method"], other) is None


@drawn.examples(2)
@given(paths=drawn.junk | st.lists(drawn.junk, max_size=2))
def test_paths_of_an_ensemble(paths):
    with drawn.watched(), pytest.raises((ValueError, TypeError, FileNotFoundError)) as raised:
        kc.load_ensemble(paths)
    assert "`filepaths`" in str(raised.value)
