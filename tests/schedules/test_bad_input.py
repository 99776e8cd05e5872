"""Bad input is refused at construction, and the error says what to do."""

import functools
import math
import warnings

import keras
import numpy as np
import pytest

import keras_cyclic as kc

s = kc.schedules
constant = s.Constant(0.1)

# A call that works for each constructor, to which one bad argument is put.
GOOD = {
    s.Cyclical: {"base_lr": 0.1, "max_lr": 0.2, "step_size": 10},
    s.Triangular: {"base_lr": 0.1, "max_lr": 0.2, "step_size": 10},
    s.Triangular2: {"base_lr": 0.1, "max_lr": 0.2, "step_size": 10},
    s.ExpRange: {"base_lr": 0.1, "max_lr": 0.2, "step_size": 10, "gamma": 0.99},
    s.OneCycle: {"max_lr": 0.2, "total_steps": 100},
    s.Decay: {"initial_lr": 0.2, "final_lr": 0.1, "decay_steps": 10},
    s.LinearDecay: {"initial_lr": 0.2, "decay_steps": 10},
    s.CosineAnnealing: {"initial_lr": 0.2, "decay_steps": 10},
    s.PolynomialDecay: {"initial_lr": 0.2, "decay_steps": 10},
    s.REX: {"initial_lr": 0.2, "decay_steps": 10},
    s.StepDecay: {"initial_lr": 0.2, "step_size": 10},
    s.MultiStepDecay: {"initial_lr": 0.2, "milestones": [10, 20]},
    s.ExponentialDecay: {"initial_lr": 0.2, "decay_steps": 10, "decay_rate": 0.9},
    s.InverseSquareRootDecay: {"initial_lr": 0.2, "decay_steps": 10},
    s.CosineAnnealingWarmRestarts: {"initial_lr": 0.2, "first_decay_steps": 10},
    s.WarmupStableDecay: {"max_lr": 0.2, "warmup_steps": 1, "stable_steps": 1, "decay_steps": 1},
    s.Constant: {"lr": 0.1},
    s.Warmup: {"schedule": constant, "warmup_steps": 10},
    s.Sequential: {"schedules": [constant, constant], "boundaries": [10]},
    s.Sampled: {"schedule": constant, "every": 10},
    s.Product: {"schedule": constant, "factor": 2.0},
    kc.profiles.FunctionProfile: {"function": keras.activations.linear},
    kc.profiles.Exponential: {},
    kc.profiles.REX: {},
    kc.profiles.Polynomial: {},
}
RATES = ("base_lr", "max_lr", "initial_lr", "final_lr", "lr", "factor")
LENGTHS = (
    "step_size",
    "step_size_down",
    "total_steps",
    "decay_steps",
    "first_decay_steps",
    "warmup_steps",
    "stable_steps",
    "every",
)
FACTORS = ("gamma", "decay_rate", "m_mul")


def argument_names(cls):
    return cls._arguments().keys()


def pairs(names):
    return [(cls, name) for cls in GOOD for name in argument_names(cls) if name in names]


def refused(cls, error, **bad):
    with pytest.raises(error) as raised:
        cls(**(GOOD[cls] | bad))
    message = str(raised.value)
    for name in bad:
        assert f"`{name}" in message or f"{name}=" in message, message
    assert "eceived" in message, message
    return message


def test_every_public_schedule_is_tried():
    public = {getattr(s, name) for name in s.__all__} - {s.Schedule, s.Wave}
    assert public <= set(GOOD)
    for cls, arguments in GOOD.items():
        cls(**arguments)


@pytest.mark.parametrize(("cls", "name"), pairs(RATES))
def test_rates(cls, name):
    for value in (-0.1, math.nan, math.inf, -math.inf, 1e39, 10**400, np.float32("nan")):
        message = refused(cls, ValueError, **{name: value})
        assert repr(value) in message
    for value in ("0.1", None, [0.1], True, 1j):
        refused(cls, TypeError, **{name: value})


@pytest.mark.parametrize(("cls", "name"), pairs(LENGTHS))
def test_lengths(cls, name):
    for value in (True, False, math.nan, math.inf, 0, -1, 2.5, 2**53 + 2, 10**400, np.int64(0)):
        message = refused(cls, ValueError, **{name: value})
        assert "positive whole number of optimizer steps" in message
        assert repr(value) in message
    for value in ("10", [10], None, 1j):
        if name == "step_size_down" and value is None:
            continue
        refused(cls, TypeError, **{name: value})


@pytest.mark.parametrize(("cls", "name"), pairs(LENGTHS))
def test_whole_numbers_of_any_type_are_lengths(cls, name):
    for value in (7, 7.0, np.int32(7), np.float64(7)):
        kept = getattr(cls(**(GOOD[cls] | {name: value})), name)
        assert kept == 7
        assert type(kept) is int


@pytest.mark.parametrize(("cls", "name"), pairs(FACTORS))
def test_factors(cls, name):
    for value in (0, -0.5, 1.0001, float("nan"), float("inf")):
        refused(cls, ValueError, **{name: value})
    for value in ("0.5", None, True):
        refused(cls, TypeError, **{name: value})
    cls(**(GOOD[cls] | {name: 1}))


@pytest.mark.parametrize(
    ("cls", "low", "high"),
    [
        (s.Cyclical, "base_lr", "max_lr"),
        (s.Triangular, "base_lr", "max_lr"),
        (s.Triangular2, "base_lr", "max_lr"),
        (s.ExpRange, "base_lr", "max_lr"),
        (s.Decay, "final_lr", "initial_lr"),
        (s.LinearDecay, "final_lr", "initial_lr"),
        (s.CosineAnnealing, "final_lr", "initial_lr"),
        (s.PolynomialDecay, "final_lr", "initial_lr"),
        (s.REX, "final_lr", "initial_lr"),
        (s.CosineAnnealingWarmRestarts, "final_lr", "initial_lr"),
        (s.WarmupStableDecay, "final_lr", "max_lr"),
    ],
)
def test_the_low_rate_may_not_be_above_the_high_one(cls, low, high):
    message = refused(cls, ValueError, **{low: 0.3, high: 0.25})
    assert f"`{low}` must not be above `{high}`" in message
    assert f"{low}=0.3" in message
    assert f"{high}=0.25" in message
    cls(**(GOOD[cls] | {low: 0.25, high: 0.25}))


def test_warm_up_may_not_go_down():
    message = refused(s.Warmup, ValueError, initial_lr=0.2)
    assert "`schedule(0)`" in message


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan")])
def test_pct_start(value):
    assert "between 0 and 1" in refused(s.OneCycle, ValueError, pct_start=value)


@pytest.mark.parametrize("value", [0, 0.5, -1, float("nan"), float("inf")])
def test_div_factor(value):
    refused(s.OneCycle, ValueError, div_factor=value)


@pytest.mark.parametrize("value", [0, -1, float("nan"), 1e-3])
def test_final_div_factor(value):
    refused(s.OneCycle, ValueError, final_div_factor=value)
    s.OneCycle(0.1, 100, final_div_factor=0.04)


def test_three_phase():
    refused(s.OneCycle, TypeError, three_phase="yes")


@pytest.mark.parametrize("value", [[20, 10], [10, 10], [0, 10], [1.5], [True], [-1], [2**54]])
def test_milestones(value):
    refused(s.MultiStepDecay, ValueError, milestones=value)


@pytest.mark.parametrize("value", [10, "10", None, {10}, ["10"], np.array(10)])
def test_milestones_of_a_wrong_type(value):
    refused(s.MultiStepDecay, TypeError, milestones=value)


@pytest.mark.parametrize("value", [[], [10, 20], [0], [2.5]])
def test_boundaries(value):
    refused(s.Sequential, ValueError, boundaries=value)


def test_boundaries_of_no_schedule():
    with pytest.raises(ValueError, match="one entry fewer"):
        s.Sequential([], [])


@pytest.mark.parametrize("value", [0.1, None, "Constant", lambda step: 0.1])
def test_a_part_must_be_a_schedule(value):
    for cls in (s.Warmup, s.Sampled, s.Product):
        assert "Constant(rate)" in refused(cls, TypeError, schedule=value)
    with pytest.raises(TypeError, match=r"schedules\[1\].*Constant\(rate\)"):
        s.Sequential([constant, value], [10])
    refused(s.Sequential, TypeError, schedules=value)


@pytest.mark.parametrize("value", [0.99, 0, float("nan"), -1, 1.00001])
def test_t_mul(value):
    message = refused(s.CosineAnnealingWarmRestarts, ValueError, t_mul=value)
    assert "t_mul" in message


def test_products():
    for value in ("2", None, [1, 2], 1j):
        with pytest.raises(TypeError):
            constant * value
        with pytest.raises(TypeError):
            value * constant
    for value in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`factor`"):
            constant * value
    with pytest.raises(TypeError):
        constant * True


@keras.saving.register_keras_serializable(package="test_bad_input")
def fine(x):
    return x


def not_registered(x):
    return x


class NotRegistered:
    def __call__(self, x):
        return x


@keras.saving.register_keras_serializable(package="test_bad_input")
def stuck(x):
    return 0.5 * x


@keras.saving.register_keras_serializable(package="test_bad_input")
def late(x):
    return 0.1 + 0.9 * x


@keras.saving.register_keras_serializable(package="test_bad_input")
def short(x):
    return 0.9 * x


@keras.saving.register_keras_serializable(package="test_bad_input")
def one_number(x):
    return 1.0


FUNCTION_ARGUMENTS = [
    (cls, name)
    for cls in GOOD
    for name in argument_names(cls)
    if name in ("profile", "decay_profile", "scale_fn")
]


@pytest.mark.parametrize(("cls", "name"), FUNCTION_ARGUMENTS)
def test_functions_that_keras_could_not_save(cls, name):
    for value in (lambda x: x, not_registered, functools.partial(fine), NotRegistered(), np.tanh):
        message = refused(cls, ValueError, **{name: value})
        assert "register_keras_serializable" in message
    cls(**(GOOD[cls] | {name: fine}))


@pytest.mark.parametrize(("cls", "name"), FUNCTION_ARGUMENTS)
def test_names_that_are_unknown(cls, name):
    message = refused(cls, ValueError, **{name: "cubic"})
    known = ("constant", "halve") if name == "scale_fn" else ("linear", "cosine", "rex")
    assert all(repr(word) in message for word in known)
    for value in (None, 3, kc.profiles.Linear):
        assert "registered function" in refused(cls, TypeError, **{name: value})
        if name != "scale_fn":
            assert "'polynomial'" in refused(cls, TypeError, **{name: value})


@pytest.mark.parametrize("function", [stuck, late, short, one_number])
def test_profiles_that_do_not_go_from_0_to_1(function):
    for make in (kc.profiles.get, kc.profiles.FunctionProfile):
        with pytest.raises(ValueError, match="progress 0 to 0 and progress 1 to 1"):
            make(function)


@pytest.mark.parametrize("function", [None, 3, "linear", kc.profiles.Linear])
def test_a_profile_of_no_function(function):
    refused(kc.profiles.FunctionProfile, TypeError, function=function)


def test_scale_mode():
    refused(s.Cyclical, ValueError, scale_mode="epoch")
    for value in (None, 3, np.array(["cycle", "iterations"])):
        refused(s.Cyclical, TypeError, scale_mode=value)


@keras.saving.register_keras_serializable(package="test_bad_input")
def of_two(x, y):
    return x


@keras.saving.register_keras_serializable(package="test_bad_input")
def not_finite(x):
    return x / 0.0


def test_functions_that_cannot_be_called():
    assert "one float tensor" in refused(s.Decay, ValueError, profile=of_two)
    for scale_fn in (of_two, not_finite):
        assert "finite factors" in refused(s.Cyclical, ValueError, scale_fn=scale_fn)


class NotRegisteredProfile(kc.profiles.Profile):
    def __call__(self, z):
        return z


def test_a_profile_of_ones_own_must_be_registered():
    message = refused(s.Decay, ValueError, profile=NotRegisteredProfile())
    assert "register_keras_serializable" in message
    wrapped = s.Decay(0.1, 0.0, 10, kc.profiles.get(fine))
    assert s.Decay.from_config(wrapped.get_config()).get_config() == wrapped.get_config()


def test_warm_up_to_the_rate_it_starts_from():
    """0.01 and 0.7 become smaller in float32."""
    for rate in (0.01, 0.1, 0.3, 0.7):
        flat = s.Warmup(s.Constant(rate), 10, initial_lr=rate)
        np.testing.assert_allclose(flat(range(20)), rate, rtol=1e-6)


class Broken(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return float("nan")


def test_warm_up_to_a_rate_that_is_no_number():
    with pytest.raises(ValueError, match=r"`schedule\(0\)`, which must be finite.*nan"):
        s.Warmup(Broken(), 10)


def test_arguments_cannot_be_changed_behind_the_back_of_a_compiled_step():
    schedule = s.Triangular2(0.1, 0.2, 10)
    for name in ("base_lr", "max_lr", "step_size"):
        with pytest.raises(AttributeError, match=f"`{name}` of a schedule cannot be changed.*new"):
            setattr(schedule, name, 0.15)
    assert schedule.get_config()["base_lr"] == 0.1


@pytest.mark.parametrize("value", [("linear",), ("linear", "cosine", "rex"), []])
def test_a_pair_of_profiles(value):
    refused(s.OneCycle, ValueError, profile=value)


@pytest.mark.parametrize(
    ("profile", "bad"),
    [
        (kc.profiles.Exponential, {"rate": 0}),
        (kc.profiles.Exponential, {"rate": 81}),
        (kc.profiles.Exponential, {"rate": 1e-38}),
        (kc.profiles.REX, {"beta": 1e-38}),
        (kc.profiles.Polynomial, {"power": 1e-300}),
        (kc.profiles.Exponential, {"rate": -1}),
        (kc.profiles.REX, {"beta": 0}),
        (kc.profiles.REX, {"beta": 1.5}),
        (kc.profiles.Polynomial, {"power": 0}),
        (kc.profiles.Polynomial, {"power": float("inf")}),
    ],
)
def test_profile_arguments(profile, bad):
    refused(profile, ValueError, **bad)
    refused(profile, TypeError, **dict.fromkeys(bad, "2"))


@pytest.mark.parametrize(
    ("profile", "name", "low", "high"),
    [
        (kc.profiles.Exponential, "rate", 1e-6, 80.0),
        (kc.profiles.REX, "beta", 1e-6, 1.0),
        (kc.profiles.Polynomial, "power", 1e-3, 1e3),
    ],
)
def test_profile_arguments_at_their_ends(profile, name, low, high):
    for value in (low, high):
        assert getattr(profile(**{name: value}), name) == value
    for value in (low * (1 - 1e-9), high * (1 + 1e-9)):
        refused(profile, ValueError, **{name: value})


def test_what_a_subclass_must_implement():
    with pytest.raises(NotImplementedError, match="Profile must implement `__call__"):
        kc.profiles.Profile()(0.5)
    with pytest.raises(NotImplementedError, match="Schedule must implement `learning_rate"):
        s.Schedule()(0)
    with pytest.raises(NotImplementedError, match="Wave must implement `bounds"):
        s.Wave()(0)
    with pytest.raises(NotImplementedError, match="Wave must implement `height"):
        s.Wave().height(0)


def test_normalize():
    refused(kc.profiles.Exponential, TypeError, normalize=1)


def test_an_unknown_argument_of_a_saved_config():
    with pytest.raises(TypeError, match="unexpected keyword argument 'step_sise'"):
        s.Triangular.from_config({"base_lr": 0.1, "max_lr": 0.2, "step_sise": 3})


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "value",
    [10**5000, Unprintable(), [0.1] * 100_000, "x" * 10**6],
    ids=["huge", "broken", "list", "text"],
)
def test_what_has_no_short_repr(value):
    """A number of more than 4,300 digits has no `repr`, and a long one hides what is wrong."""
    for cls, name in ((s.Constant, "lr"), (s.Sampled, "every"), (s.Decay, "profile")):
        with pytest.raises((ValueError, TypeError), match=f"`{name}`") as raised:
            cls(**(GOOD[cls] | {name: value}))
        assert len(str(raised.value)) < 2000


def test_half_precision_numbers_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert s.Constant(np.float16(0.5)).lr == 0.5
        assert s.Sampled(constant, np.float16(3)).every == 3


def test_rates_at_the_end_of_float32():
    """What is added up on the way to the rate must not be rounded to infinity."""
    refused(s.Constant, ValueError, lr=float(np.finfo("float32").max))
    triangular = s.Triangular(1.8997240388244134e38, 3.4028e38, 2, 7)
    assert np.isfinite(triangular(range(20))).all()


def test_products_beyond_float32():
    huge = s.Constant(1e30)
    for factor in (1e30, huge, s.Warmup(huge, 10), s.Sequential([constant, huge], [10])):
        with pytest.raises(ValueError, match=r"`factor`.*float32"):
            s.Product(huge, factor)
    assert np.isfinite((huge * 1e8)(0))
