"""Equal to PyTorch's schedulers at every step, by recorded values and for drawn arguments."""

import json
import pathlib

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_cyclic as kc
from tests.backends import LARGEST_STEP, rates_at
from tests.oracles import exact

RECORDED = json.loads(
    (pathlib.Path(__file__).parents[1] / "oracles" / "torch_schedules.json").read_text()
)["cases"]


@keras.saving.register_keras_serializable(package="test_against_torch")
def halved(x):
    return 1 / (2.0 ** (x - 1))


@keras.saving.register_keras_serializable(package="test_against_torch")
def wobbling(x):
    return 0.75 + 0.25 * (-1.0) ** x


def ours_and_oracle(scheduler, a):
    """Our schedule for PyTorch's arguments, and the exact oracle of the other tests."""
    if scheduler.startswith("CyclicLR"):
        up, down = a["step_size_up"], a["step_size_down"] or a["step_size_up"]
        bounds = a["base_lr"], a["max_lr"]
        kind, _, mode = scheduler.removeprefix("CyclicLR/").partition("/")
        scale = {
            "triangular": lambda cycle, step: 1,
            "triangular2": lambda cycle, step: 0.5**cycle,
            "exp_range": lambda cycle, step: a["gamma"] ** step,
            "halved": lambda cycle, step: halved(cycle + 1),
            "wobbling": lambda cycle, step: wobbling(cycle + 1 if mode == "cycle" else step),
        }[kind]
        schedule = {
            "triangular": lambda: kc.schedules.Triangular(*bounds, up, a["step_size_down"]),
            "triangular2": lambda: kc.schedules.Triangular2(*bounds, up, a["step_size_down"]),
            "exp_range": lambda: kc.schedules.ExpRange(
                *bounds, up, a["gamma"], a["step_size_down"]
            ),
            "halved": lambda: kc.schedules.Cyclical(*bounds, up, down, scale_fn=halved),
            "wobbling": lambda: kc.schedules.Cyclical(
                *bounds, up, down, scale_fn=wobbling, scale_mode=mode
            ),
        }[kind]()
        return schedule, lambda step: exact.cyclical(step, *bounds, up, down, scale=scale)
    if scheduler == "OneCycleLR":
        arguments = {key: value for key, value in a.items() if key != "anneal_strategy"}
        profile, share = {"cos": ("cosine", exact.cosine), "linear": ("linear", exact.linear)}[
            a["anneal_strategy"]
        ]
        return (
            kc.schedules.OneCycle(**arguments, profile=profile),
            lambda step: exact.one_cycle(step, up=share, down=share, **arguments),
        )
    if scheduler == "CosineAnnealingWarmRestarts":
        return (
            kc.schedules.CosineAnnealingWarmRestarts(
                a["lr"], a["T_0"], t_mul=a["T_mult"], final_lr=a["eta_min"]
            ),
            lambda step: exact.warm_restarts(
                step, a["lr"], a["T_0"], a["T_mult"], final_lr=a["eta_min"]
            ),
        )
    if scheduler == "StepLR":
        return (
            kc.schedules.StepDecay(a["lr"], a["step_size"], a["gamma"]),
            lambda step: exact.step_decay(step, a["lr"], a["step_size"], a["gamma"]),
        )
    return (
        kc.schedules.MultiStepDecay(a["lr"], a["milestones"], a["gamma"]),
        lambda step: exact.multi_step_decay(step, a["lr"], a["milestones"], a["gamma"]),
    )


@pytest.mark.parametrize("scheduler", sorted({case["scheduler"] for case in RECORDED}))
def test_equals_what_pytorch_gave(scheduler):
    for case in RECORDED:
        if case["scheduler"] != scheduler:
            continue
        schedule, oracle = ours_and_oracle(scheduler, case["arguments"])
        recorded = np.array(case["rates"])
        worked_out = [float(oracle(step)) for step in range(len(recorded))]
        np.testing.assert_allclose(worked_out, recorded, rtol=1e-9, atol=1e-14)
        rates = rates_at(schedule, np.arange(len(recorded)))
        np.testing.assert_allclose(rates, recorded, rtol=2e-6, atol=2e-7 * recorded.max())


lengths = st.integers(1, 300)
rates = st.floats(1e-6, 10.0)
gammas = st.floats(0.5, 1.0)


def assert_equal_over(schedule, oracle, steps, amplitude):
    exact_rates = np.array([float(oracle(step)) for step in range(steps)])
    ours = rates_at(schedule, np.arange(steps))
    np.testing.assert_allclose(ours, exact_rates, rtol=2e-6, atol=2e-7 * amplitude)


@given(
    base=rates,
    amplitude=rates,
    up=lengths,
    down=st.none() | lengths,
    kind=st.sampled_from(["triangular", "triangular2", "exp_range"]),
    gamma=st.floats(0.9, 1.0),
)
def test_cyclic_lr(base, amplitude, up, down, kind, gamma):
    arguments = {
        "base_lr": base,
        "max_lr": base + amplitude,
        "step_size_up": up,
        "step_size_down": down,
        "gamma": gamma,
    }
    schedule, oracle = ours_and_oracle(f"CyclicLR/{kind}", arguments)
    assert_equal_over(schedule, oracle, 3 * (up + (down or up)) + 2, amplitude)


@given(
    max_lr=rates,
    total_steps=st.integers(1, 400),
    pct_start=st.floats(0.01, 0.99),
    div_factor=st.floats(1.0, 100.0),
    final_div_factor=st.floats(1.0, 1e5),
    strategy=st.sampled_from(["cos", "linear"]),
    three_phase=st.booleans(),
)
def test_one_cycle_lr(strategy, max_lr, total_steps, **arguments):
    schedule, oracle = ours_and_oracle(
        "OneCycleLR",
        {
            "max_lr": max_lr,
            "total_steps": total_steps,
            "anneal_strategy": strategy,
            **arguments,
        },
    )
    assert_equal_over(schedule, oracle, total_steps, max_lr)
    held = np.asarray(schedule([total_steps - 1, total_steps, LARGEST_STEP]))
    assert held[0] == held[1] == held[2]


@given(lr=rates, first=st.integers(1, 40), t_mul=st.integers(1, 4), share=st.floats(0, 1))
def test_cosine_annealing_warm_restarts(lr, first, t_mul, share):
    schedule, oracle = ours_and_oracle(
        "CosineAnnealingWarmRestarts",
        {"lr": lr, "T_0": first, "T_mult": t_mul, "eta_min": lr * share},
    )
    assert_equal_over(schedule, oracle, first * (1 + t_mul + t_mul**2 + t_mul**3) + 2, lr)


@given(lr=rates, step_size=lengths, gamma=gammas)
def test_step_lr(lr, step_size, gamma):
    schedule, oracle = ours_and_oracle("StepLR", {"lr": lr, "step_size": step_size, "gamma": gamma})
    assert_equal_over(schedule, oracle, 4 * step_size + 2, lr)


@given(lr=rates, milestones=st.sets(st.integers(1, 500), min_size=1, max_size=20), gamma=gammas)
def test_multi_step_lr(lr, milestones, gamma):
    milestones = sorted(milestones)
    schedule, oracle = ours_and_oracle(
        "MultiStepLR", {"lr": lr, "milestones": milestones, "gamma": gamma}
    )
    assert_equal_over(schedule, oracle, milestones[-1] + 2, lr)
