"""What `plot_schedule` draws, compared with closed forms at the points that matter."""

import io

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import BACKEND

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = matplotlib.pyplot = pytest.importorskip("matplotlib.pyplot")

TRIANGLE = kc.schedules.Triangular(0.01, 0.05, 4)


@pytest.fixture(autouse=True)
def no_figure_is_left_and_none_is_shown(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: pytest.fail("shown"))
    plt.close("all")
    yield
    plt.close("all")


def triangle(t, low, high, half):
    phase = np.asarray(t, "float64") % (2 * half)
    return low + (high - low) * np.minimum(phase, 2 * half - phase) / half


def curves(ax):
    return {line.get_label(): np.array(line.get_data()) for line in ax.lines}


def saved(ax):
    ax.figure.savefig(io.BytesIO(), format="png")


def test_one_schedule_with_momentum_in_epochs():
    ax = kc.plot_schedule(TRIANGLE, 20, momentum=(0.85, 0.95), steps_per_epoch=5)
    below = ax.figure.axes[-1]
    assert len(ax.figure.axes) == 2
    assert plt.get_fignums() == [ax.figure.number]
    ((x, rates),) = curves(ax).values()
    ((x_below, momenta),) = curves(below).values()
    np.testing.assert_allclose(x, np.arange(20) / 5)
    np.testing.assert_array_equal(x_below, x)
    np.testing.assert_allclose(rates, triangle(np.arange(20), 0.01, 0.05, 4), atol=1e-8)
    np.testing.assert_allclose(momenta, 0.95 - triangle(np.arange(20), 0, 0.1, 4), atol=1e-7)
    assert (ax.get_ylabel(), below.get_ylabel()) == ("learning rate", "momentum")
    assert (ax.get_xlabel(), below.get_xlabel()) == ("", "epoch")
    assert ax.get_legend() is None
    saved(ax)
    assert ax.get_xlim() == below.get_xlim()
    # One below the other, as drawn.
    assert below.get_position().y1 < ax.get_position().y0
    target = kc.callbacks.CyclicalMomentum(0.85, 0.95)
    (target,) = target.targets([keras.optimizers.SGD(TRIANGLE, 0.9)])
    np.testing.assert_allclose(momenta, target.value(keras.ops.arange(20)), atol=1e-7)


@pytest.mark.parametrize("place", ["subplot", "free"])
def test_several_on_given_axes(place):
    fig = plt.figure()
    ax = fig.add_subplot() if place == "subplot" else fig.add_axes((0.1, 0.1, 0.8, 0.8))
    bounds = ax.get_position().bounds
    schedules = {"up and down": TRIANGLE, "twice": TRIANGLE * 2.0}
    assert kc.plot_schedule(schedules, 10, ax, yscale="log") is ax
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_position().bounds) == ("step", bounds)
    decay = {"Keras": keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)}
    kc.plot_schedule(decay, 10, ax)
    drawn = curves(ax)
    assert list(drawn) == ["up and down", "twice", "Keras"]
    np.testing.assert_allclose(drawn["twice"][1], triangle(range(10), 0.02, 0.1, 4), atol=1e-8)
    np.testing.assert_allclose(drawn["Keras"][1], 0.1 * 0.5 ** (np.arange(10) / 5), rtol=1e-6)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(drawn)
    assert len({line.get_color() for line in ax.lines}) == 3
    kc.plot_schedule(schedules, 10, ax, momentum=(0.8, 0.9))
    below = fig.axes[-1]
    assert [line.get_color() for line in below.lines] == [
        line.get_color() for line in ax.lines[-2:]
    ]
    saved(ax)
    assert bounds[1] == pytest.approx(below.get_position().y0)
    assert below.get_position().y1 < ax.get_position().y0
    assert ax.get_position().y1 == pytest.approx(bounds[1] + bounds[3])
    assert plt.get_fignums() == [fig.number]


def test_no_peak_or_kink_is_missed_in_long_trainings():
    warm = kc.schedules.Warmup(kc.schedules.StepDecay(0.1, 333_333), 777)
    restarts = kc.schedules.CosineAnnealingWarmRestarts(1.0, 1001, 2.0)
    schedules = {"warm": warm, "restarts": restarts}
    if BACKEND != "torch":  # One step at a time there, which takes minutes.
        keras_one = keras.optimizers.schedules.PiecewiseConstantDecay([123_456], [1.0, 0.5])
        schedules["Keras"] = keras_one
    ax = kc.plot_schedule(schedules, 1_000_000)
    drawn = {name: dict(zip(*line)) for name, line in curves(ax).items()}
    assert all(len(points) < 13_000 for points in drawn.values())
    assert drawn["warm"][777] == pytest.approx(0.1)
    assert drawn["warm"][777 + 333_332] == pytest.approx(0.1)
    assert drawn["warm"][777 + 333_333] == pytest.approx(0.01)
    for n in range(9):
        begin = 1001 * (2**n - 1)
        assert drawn["restarts"][begin] == 1.0
    if BACKEND != "torch":
        assert (drawn["Keras"][123_456], drawn["Keras"][123_457]) == (1.0, 0.5)
    kept = sorted(drawn["warm"] if BACKEND == "torch" else drawn["Keras"])
    assert kept[0] == 0
    assert kept[-1] == 999_999
    assert np.diff(kept).max() <= 500
    # The legend stands beside the curves.
    saved(ax)
    legend = ax.get_legend().get_window_extent()
    assert legend.x0 > ax.get_window_extent().x1
    assert legend.x1 < ax.figure.bbox.x1


class OneStepAtATime(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5 if step < 100_000 else 0.25


def test_any_schedule_of_keras_and_any_length():
    ((steps, rates),) = curves(kc.plot_schedule(OneStepAtATime(), 200_000)).values()
    assert steps[[0, -1]].tolist() == [0, 199_999]
    np.testing.assert_array_equal(rates, np.where(steps < 100_000, 0.5, 0.25))
    ((steps, rates),) = curves(kc.plot_schedule(TRIANGLE, 10**9)).values()
    assert steps[-1] == 10**9 - 1
    assert len(steps) < 13_000
    assert rates == pytest.approx(triangle(steps, 0.01, 0.05, 4), abs=1e-8)
    ((steps, rates),) = curves(kc.plot_schedule(TRIANGLE, 1, yscale="log")).values()
    assert (steps.tolist(), rates.tolist()) == ([0], [pytest.approx(0.01)])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.1, 10), TypeError, "Argument `schedule_or_dict` must be .* Received: .*=0.1 of type"),
        (([TRIANGLE], 10), TypeError, "or a dict from names"),
        (({}, 10), ValueError, "must have at least one schedule. Received: schedule_or_dict={}"),
        (({1: TRIANGLE}, 10), TypeError, "strings as keys.*the key 1 of type int"),
        (({"a": 0.1}, 10), TypeError, r"Argument `schedule_or_dict\['a'\]` must be"),
        ((TRIANGLE, 0), ValueError, "Argument `steps` must be a positive whole number"),
        ((TRIANGLE, "10"), TypeError, "Argument `steps` must be"),
        ((TRIANGLE, 10, "axes"), TypeError, "Argument `ax` must be a Matplotlib Axes. .*'axes'"),
        ((TRIANGLE, 10, None, {"momentum": 0.9}), TypeError, "Argument `momentum` must be a pair"),
        ((TRIANGLE, 10, None, {"momentum": (0.9,)}), ValueError, "`momentum` must be a pair"),
        ((TRIANGLE, 10, None, {"momentum": (0.9, 0.8)}), ValueError, "`base_momentum` must not"),
        ((TRIANGLE, 10, None, {"momentum": (0.9, 1.0)}), ValueError, "`max_momentum` must be"),
        (
            ({"a": kc.schedules.Constant(0.1)}, 10, None, {"momentum": (0.8, 0.9)}),
            ValueError,
            r"`momentum` must be None .* Received: schedule_or_dict\['a'\]=Constant",
        ),
        ((TRIANGLE, 10, None, {"steps_per_epoch": 2.5}), ValueError, "`steps_per_epoch` must be"),
        ((TRIANGLE, 10, None, {"yscale": "logit"}), ValueError, "`yscale` must be one of 'linear'"),
    ],
)
def test_bad_input_leaves_no_figure(arguments, error, message):
    keywords = arguments[3] if len(arguments) > 3 else {}
    with pytest.raises(error, match=message):
        kc.plot_schedule(*arguments[:3], **keywords)
    assert plt.get_fignums() == []
