"""Every policy with an oracle, the steps at which something happens, and its amplitude."""

import dataclasses
from collections.abc import Callable

import keras_cyclic as kc
from tests.oracles import exact

schedules = kc.schedules
profiles = kc.profiles


@dataclasses.dataclass
class Policy:
    name: str
    schedule: object
    oracle: Callable
    boundaries: list
    amplitude: float


def restarts(first, t_mul, limit=2**53):
    """The first steps of the cycles, in whole numbers, for a `t_mul` with few binary digits."""
    numerator, denominator = t_mul.as_integer_ratio()
    starts, n = [0], 0
    while starts[-1] <= limit:
        length = (2 * first * numerator**n + denominator**n) // (2 * denominator**n)
        starts.append(starts[-1] + length)
        n += 1
    return starts


def cycle_ends(up, down):
    cycle = up + down
    near = [k * cycle + edge for k in (0, 1, 2, 7, 30) for edge in (0, up, cycle)]
    far = [2**53 // cycle * cycle - k * cycle + edge for k in (1, 2) for edge in (0, up, cycle)]
    middle = [2**31 // cycle * cycle + edge for edge in (0, up - cycle)]
    return near + middle + far


def halved(cycle, step):
    return exact.mpmath.mpf(2) ** -cycle


def shrunk(gamma):
    return lambda cycle, step: exact.mpmath.mpf(gamma) ** step


def polynomial(power):
    return profiles.Polynomial(power), exact.polynomial(power)


def cyclical(name, profile, exact_profile, up, down, **kwargs):
    scale = halved if kwargs.get("scale_fn") == "halve" else lambda cycle, step: 1
    return Policy(
        name,
        schedules.Cyclical(0.001, 0.006, up, down, profile, **kwargs),
        lambda step: exact.cyclical(step, 0.001, 0.006, up, down, exact_profile, scale),
        cycle_ends(up, down),
        0.005,
    )


def one_cycle(name, total_steps, up=exact.cosine, down=exact.cosine, **kwargs):
    oracle_arguments = {key: value for key, value in kwargs.items() if key != "profile"}
    share = kwargs.get("pct_start", 0.3)
    peaks = [int(share * total_steps) - 1, int(2 * share * total_steps) - 2]
    return Policy(
        name,
        schedules.OneCycle(0.5, total_steps, **kwargs),
        lambda step: exact.one_cycle(step, 0.5, total_steps, up=up, down=down, **oracle_arguments),
        [0, *peaks, *(peak + 1 for peak in peaks), total_steps - 1, 2**53],
        0.5,
    )


def warm_restarts(name, first, t_mul=1.0, exact_profile=exact.cosine, **kwargs):
    starts = restarts(first, t_mul) if t_mul != 1 else cycle_ends(first, first)
    oracle_arguments = {key: value for key, value in kwargs.items() if key != "profile"}
    return Policy(
        name,
        schedules.CosineAnnealingWarmRestarts(0.1, first, t_mul, **kwargs),
        lambda step: exact.warm_restarts(
            step, 0.1, first, t_mul, profile=exact_profile, **oracle_arguments
        ),
        starts,
        0.1 - kwargs.get("final_lr", 0.0),
    )


def decay(name, schedule, exact_profile, steps, final_lr=0.0):
    return Policy(
        name,
        schedule,
        lambda step: exact.decay(step, 0.3, final_lr, steps, exact_profile),
        [0, steps // 2, steps, 2 * steps, 2**53],
        0.3 - final_lr,
    )


POLICIES = [
    Policy(
        "Triangular",
        schedules.Triangular(0.001, 0.006, 2000),
        lambda step: exact.cyclical(step, 0.001, 0.006, 2000, 2000),
        cycle_ends(2000, 2000),
        0.005,
    ),
    Policy(
        "Triangular skewed, base 0",
        schedules.Triangular(0.0, 1.0, 49, 100_000_007),
        lambda step: exact.cyclical(step, 0.0, 1.0, 49, 100_000_007),
        cycle_ends(49, 100_000_007),
        1.0,
    ),
    Policy(
        "Triangular of one step",
        schedules.Triangular(0.0, 1.0, 1),
        lambda step: exact.cyclical(step, 0.0, 1.0, 1, 1),
        cycle_ends(1, 1),
        1.0,
    ),
    Policy(
        "Triangular2",
        schedules.Triangular2(0.001, 0.006, 977, 300),
        lambda step: exact.cyclical(step, 0.001, 0.006, 977, 300, scale=halved),
        cycle_ends(977, 300),
        0.005,
    ),
    Policy(
        "ExpRange",
        schedules.ExpRange(0.001, 0.006, 2000, 0.99994),
        lambda step: exact.cyclical(step, 0.001, 0.006, 2000, 2000, scale=shrunk(0.99994)),
        cycle_ends(2000, 2000),
        0.005,
    ),
    Policy(
        "ExpRange from nothing",
        schedules.ExpRange(0.0, 1.0, 500, 0.99999),
        lambda step: exact.cyclical(step, 0.0, 1.0, 500, 500, scale=shrunk(0.99999)),
        [0, 500, 1000, 1_000_500, 1_700_500],
        1.0,
    ),
    cyclical("Cyclical cosine", "cosine", exact.cosine, 1000, 333),
    cyclical("Cyclical cosine huge", "cosine", exact.cosine, 2**40 + 1, 2**39 + 3),
    cyclical("Cyclical REX", profiles.REX(0.1), exact.rex(0.1), 1000, 10**6, scale_fn="halve"),
    cyclical("Cyclical exponential", "exponential", exact.exponential(), 997, 31),
    cyclical("Cyclical square", *polynomial(2.0), 10**6, 997),
    cyclical("Cyclical square root", *polynomial(0.5), 10**6, 997),
    cyclical("Cyclical power 6", *polynomial(6.0), 10**6, 997),
    one_cycle("OneCycle", 1000),
    one_cycle("OneCycle long", 10**12 + 7, pct_start=0.123),
    one_cycle("OneCycle in fractions", 997, pct_start=0.217),
    one_cycle("OneCycle three-phase", 997, pct_start=0.217, three_phase=True),
    one_cycle("OneCycle three-phase, cut off", 100, pct_start=0.7, three_phase=True),
    one_cycle("OneCycle of one step", 1),
    one_cycle("OneCycle with its peak at once", 10, pct_start=0.1),
    one_cycle(
        "OneCycle linear up, cosine down", 500, up=exact.linear, profile=("linear", "cosine")
    ),
    one_cycle(
        "OneCycle REX",
        12_347,
        up=exact.rex(),
        down=exact.rex(),
        profile="rex",
        three_phase=True,
        pct_start=0.31,
        final_div_factor=100.0,
    ),
    warm_restarts("WarmRestarts", 1000),
    warm_restarts("WarmRestarts doubling", 1000, 2.0),
    warm_restarts("WarmRestarts tripling from 1", 1, 3.0),
    warm_restarts("WarmRestarts by half", 5, 1.5),
    warm_restarts("WarmRestarts by a quarter, lower", 7, 1.25, m_mul=0.8, final_lr=0.01),
    warm_restarts("WarmRestarts lower", 997, m_mul=0.9, final_lr=0.001),
    warm_restarts("WarmRestarts REX", 100, 2.0, exact.rex(0.1), profile=profiles.REX(0.1)),
    decay("LinearDecay", schedules.LinearDecay(0.3, 977), exact.linear, 977),
    decay("LinearDecay huge", schedules.LinearDecay(0.3, 2**45 + 1), exact.linear, 2**45 + 1),
    decay("CosineAnnealing", schedules.CosineAnnealing(0.3, 10**6), exact.cosine, 10**6),
    decay(
        "CosineAnnealing to a rate",
        schedules.CosineAnnealing(0.3, 1001, 0.01),
        exact.cosine,
        1001,
        0.01,
    ),
    decay("PolynomialDecay", schedules.PolynomialDecay(0.3, 10**7), exact.polynomial(2.0), 10**7),
    decay(
        "PolynomialDecay to the square root",
        schedules.PolynomialDecay(0.3, 10**7, power=0.5),
        exact.polynomial(0.5),
        10**7,
    ),
    decay("REX", schedules.REX(0.3, 10**6), exact.rex(), 10**6),
    decay("REX 0.1", schedules.REX(0.3, 10**6, beta=0.1), exact.rex(0.1), 10**6),
    decay(
        "Decay exponential", schedules.Decay(0.3, 0.0, 977, "exponential"), exact.exponential(), 977
    ),
    decay(
        "Decay exponential, plain",
        schedules.Decay(0.3, 0.0, 977, profiles.Exponential(5.0, normalize=False)),
        exact.exponential(5.0, normalize=False),
        977,
    ),
    Policy(
        "StepDecay",
        schedules.StepDecay(0.3, 30, 0.5),
        lambda step: exact.step_decay(step, 0.3, 30, 0.5),
        [30 * k for k in range(60)] + [2**53],
        0.3,
    ),
    Policy(
        "MultiStepDecay",
        schedules.MultiStepDecay(0.3, [10, 11, 5000, 2**33, 2**53 - 7]),
        lambda step: exact.multi_step_decay(step, 0.3, [10, 11, 5000, 2**33, 2**53 - 7], 0.1),
        [10, 11, 5000, 2**33, 2**53 - 7],
        0.3,
    ),
    Policy(
        "ExponentialDecay",
        schedules.ExponentialDecay(0.3, 1, 0.99999),
        lambda step: exact.exponential_decay(step, 0.3, 1, 0.99999),
        [0, 1000, 1_000_777, 2**53],
        0.3,
    ),
    Policy(
        "InverseSquareRootDecay",
        schedules.InverseSquareRootDecay(0.3, 4000),
        lambda step: exact.inverse_square_root(step, 0.3, 4000),
        [0, 4000, 10**9, 2**53],
        0.3,
    ),
    Policy(
        "WarmupStableDecay",
        schedules.WarmupStableDecay(0.3, 100, 977, 333, 0.001, "cosine"),
        lambda step: exact.warmup_stable_decay(step, 0.3, 100, 977, 333, 0.001, exact.cosine),
        [0, 100, 1077, 1410, 2**53],
        0.3,
    ),
    Policy(
        "Warmup",
        schedules.Warmup(schedules.CosineAnnealing(0.3, 1000), 2**33 + 5, 0.01, "cosine"),
        lambda step: (
            exact.between(0.01, 0.3, exact.cosine(exact.Fraction(step, 2**33 + 5)))
            if step < 2**33 + 5
            else exact.decay(step - 2**33 - 5, 0.3, 0.0, 1000, exact.cosine)
        ),
        [0, 2**33 + 5, 2**33 + 1005],
        0.3,
    ),
    Policy(
        "Sequential",
        schedules.Sequential(
            [
                schedules.LinearDecay(0.3, 50),
                schedules.Triangular(0.0, 0.1, 10),
                schedules.Constant(0.2),
            ],
            [100, 2**40],
        ),
        lambda step: (
            exact.decay(step, 0.3, 0.0, 50)
            if step < 100
            else exact.cyclical(step - 100, 0.0, 0.1, 10, 10)
            if step < 2**40
            else 0.2
        ),
        [0, 50, 100, 110, 120, 2**40],
        0.1,
    ),
    Policy(
        "Sampled",
        schedules.Sampled(schedules.REX(0.3, 10_000), 117),
        lambda step: exact.decay(step - step % 117, 0.3, 0.0, 10_000, exact.rex()),
        [0, 117, 234, 9945, 10_062],
        0.3,
    ),
    Policy(
        "Product",
        schedules.Triangular(0.1, 0.2, 10) * schedules.StepDecay(3.0, 100, 0.5) * 0.5,
        lambda step: (
            exact.cyclical(step, 0.1, 0.2, 10, 10) * exact.step_decay(step, 3.0, 100, 0.5) / 2
        ),
        [0, 10, 20, 100, 200],
        0.15,
    ),
    Policy("Constant", schedules.Constant(0.3), lambda step: 0.3, [0, 2**53], 0.3),
]
