"""Compositions, above all with schedules that are Keras's own or the user's."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import compiled, step_tensor

s = kc.schedules
k = keras.optimizers.schedules

KERAS = [
    k.ExponentialDecay(0.1, 10, 0.9),
    k.ExponentialDecay(0.1, 10, 0.9, staircase=True),
    k.PiecewiseConstantDecay([5, 10], [0.1, 0.01, 0.001]),
    k.PolynomialDecay(0.1, 20, cycle=True),
    k.InverseTimeDecay(0.1, 10, 0.5),
    k.CosineDecay(0.1, 20),
    k.CosineDecay(0.01, 20, warmup_target=0.1, warmup_steps=5),
    k.CosineDecayRestarts(0.1, 7),
    k.CosineDecayRestarts(0.1, 7, t_mul=1.0),
]
name_of = lambda schedule: type(schedule).__name__  # noqa: E731


def one_by_one(schedule, steps):
    return np.array([float(schedule(int(step))) for step in steps])


@pytest.mark.parametrize("part", KERAS, ids=name_of)
def test_schedules_of_keras_as_parts(part):
    steps = np.arange(40)
    parts = one_by_one(part, steps)
    peak = parts[0]
    expected = {
        s.Warmup(part, 8): np.where(steps < 8, peak * steps / 8, parts[np.maximum(steps - 8, 0)]),
        s.Sequential([part, part], [10]): np.concatenate([parts[:10], parts[:30]]),
        s.Sampled(part, 6): parts[steps // 6 * 6],
        s.Product(part, 2.0): 2 * parts,
        part * s.StepDecay(1.0, 10, 0.5): parts * 0.5 ** (steps // 10),
    }
    for schedule, rates in expected.items():
        np.testing.assert_allclose(schedule(steps), rates, rtol=2e-6, atol=2e-8)
        in_graph = compiled(schedule)
        ones = [float(in_graph(step_tensor(step))) for step in (0, 7, 8, 21, 39)]
        np.testing.assert_allclose(ones, rates[[0, 7, 8, 21, 39]], rtol=2e-6, atol=2e-8)


class Own(k.LearningRateSchedule):
    """A user's schedule that branches in Python on the step, as TensorFlow's autograph allows."""

    def __call__(self, step):
        return keras.ops.cond(step < 5, lambda: 0.1, lambda: 0.01)

    def get_config(self):
        return {}


def test_a_users_own_schedule_as_a_part():
    schedule = s.Warmup(Own(), 3) * 2
    np.testing.assert_allclose(
        schedule([0, 2, 3, 7, 8, 100]), [0, 0.4 / 3, 0.2, 0.2, 0.02, 0.02], rtol=1e-6
    )


def test_warmup_climbs_to_where_the_schedule_begins():
    schedule = s.Warmup(s.Triangular(0.02, 0.1, 10), 4, initial_lr=0.01)
    np.testing.assert_allclose(
        schedule(range(9)),
        [0.01, 0.0125, 0.015, 0.0175, 0.02, 0.028, 0.036, 0.044, 0.052],
        rtol=1e-6,
    )


def test_after_the_warm_up_the_schedule_is_untouched_to_the_last_bit():
    inner = s.CosineAnnealingWarmRestarts(0.1, 10, t_mul=2.0)
    for profile in ("linear", "cosine", "rex", "exponential", "polynomial"):
        schedule = s.Warmup(inner, 1000, initial_lr=0.01, profile=profile)
        steps = np.arange(5000)
        np.testing.assert_array_equal(schedule(steps + 1000), inner(steps))


def test_sequential_counts_each_part_from_its_boundary():
    schedule = s.Sequential(
        [s.LinearDecay(1.0, 10), s.LinearDecay(2.0, 10), s.LinearDecay(3.0, 10)], [5, 20]
    )
    steps = np.array([0, 4, 5, 10, 15, 19, 20, 25, 30, 100])
    expected = [1.0, 0.6, 2.0, 1.0, 0.0, 0.0, 3.0, 1.5, 0.0, 0.0]
    np.testing.assert_allclose(schedule(steps), expected, rtol=1e-6, atol=1e-7)


def test_a_single_part_needs_no_boundary():
    assert float(s.Sequential([s.Constant(0.1)], [])(7)) == np.float32(0.1)


def test_sampled_once_an_epoch():
    """REX looked at once an epoch of 25 steps, four epochs."""
    schedule = s.Sampled(s.REX(1.0, 100), every=25)
    rates = np.asarray(schedule(np.arange(100))).reshape(4, 25)
    assert (rates == rates[:, :1]).all()
    np.testing.assert_allclose(rates[:, 0], [1, 6 / 7, 2 / 3, 2 / 5], rtol=1e-6)


def test_products_read_left_to_right():
    a, b = s.Constant(0.5), s.LinearDecay(1.0, 10)
    for schedule, expected in [
        (a * 2, 1.0),
        (2 * a, 1.0),
        (np.float64(2) * a, 1.0),
        (a * np.float32(2), 1.0),
        (a * b, 0.25),
        (b * a * 4, 1.0),
        (k.CosineDecay(1.0, 10) * a, 0.25),
        (a * k.CosineDecay(1.0, 10), 0.25),
        (a * 0, 0.0),
    ]:
        assert isinstance(schedule, s.Schedule)
        assert float(schedule(5)) == pytest.approx(expected, rel=1e-6)


def test_the_four_profiles_of_the_rex_paper_at_any_sampling_rate_and_with_restarts():
    """Profile times sampling rate: linear, cosine, exponential and REX, by the step or in steps."""
    curves = {
        "linear": lambda w: w,
        "cosine": lambda w: (1 + np.cos(np.pi * (1 - w))) / 2,
        kc.profiles.Exponential(3.0, normalize=False): lambda w: np.exp(-3 * (1 - w)),
        "rex": lambda w: w / (0.5 + 0.5 * w),
    }
    steps = np.arange(200)
    for profile, curve in curves.items():
        once = s.Decay(0.1, 0.0, 200, profile)
        again = s.CosineAnnealingWarmRestarts(0.1, 50, profile=profile)
        for every in (1, 10, 25):
            seen = steps // every * every
            np.testing.assert_allclose(
                s.Sampled(once, every)(steps), 0.1 * curve(1 - seen / 200), rtol=1e-5, atol=1e-8
            )
            np.testing.assert_allclose(
                s.Sampled(again, every)(steps),
                0.1 * curve(1 - seen % 50 / 50),
                rtol=1e-5,
                atol=1e-8,
            )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (s.CosineAnnealing(0.1, 50), k.CosineDecay(0.1, 50)),
        (s.CosineAnnealing(0.1, 50, 0.02), k.CosineDecay(0.1, 50, alpha=0.2)),
        (s.PolynomialDecay(0.1, 50, 0.01), k.PolynomialDecay(0.1, 50, 0.01, power=2.0)),
        (s.LinearDecay(0.1, 50, 0.01), k.PolynomialDecay(0.1, 50, 0.01)),
        (s.ExponentialDecay(0.1, 50, 0.5), k.ExponentialDecay(0.1, 50, 0.5)),
        (s.StepDecay(0.1, 50, 0.5), k.ExponentialDecay(0.1, 50, 0.5, staircase=True)),
        (
            s.Sequential([s.LinearDecay(0.0, 1), s.Constant(0.5)], [5]),
            k.PiecewiseConstantDecay([4], [0.0, 0.5]),
        ),
        (
            s.Warmup(s.CosineAnnealing(0.1, 50), 10),
            k.CosineDecay(0.0, 50, warmup_target=0.1, warmup_steps=10),
        ),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_equal_to_keras_where_keras_has_it(ours, theirs):
    steps = np.arange(120)
    np.testing.assert_allclose(ours(steps), one_by_one(theirs, steps), rtol=1e-5, atol=1e-8)
