import builtins
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_cyclic as kc
from tests.backends import compile_arguments
from tests.oracles.range_test import least_squares, linear_losses, stopping_step

RATES = np.logspace(-7, 1, 100)
DECADES = np.log10(RATES)


def network_losses(noise=0.0, seed=0, centre=-2.5, explosion=0.0):
    """What a network's test looks like: a plateau, a fall around `centre`, an explosion."""
    losses = 2.3 - 1.5 / (1 + np.exp(-(DECADES - centre) / 0.25))
    losses += np.exp(np.minimum((DECADES - explosion) * 8, 5))
    return losses + noise * np.random.default_rng(seed).normal(size=100)


@pytest.mark.parametrize("condition", [1, 3, 10, 30, 100, 300, 1000])
def test_bounds_lie_below_the_limit_of_stability(condition):
    rates = np.logspace(-7, 1, 200)
    for seed, (size, noise) in enumerate([(2, 0), (5, 0.1), (10, 0), (20, 0.5), (40, 1.0)]):
        x, y, limit = least_squares(seed, condition, size, noise)
        with np.errstate(all="ignore"):
            losses = linear_losses([(x, y)], np.zeros((size, 1)), rates)
        count = stopping_step(losses, 0.9, 4.0)
        result = kc.RangeTestResult(rates[:count], losses[:count], count < 200)
        base_lr, max_lr = result.bounds()
        assert limit / 20 < max_lr < limit
        assert 0 < base_lr < max_lr
        for method in ("steepest", "valley", "minimum"):
            assert 0 < result.suggest(method) < limit


def test_bounds_of_a_keras_model_trained_by_full_batch_gradient_descent():
    for seed, condition, size in ((0, 1, 1), (1, 30, 8), (2, 1000, 20)):
        x, y, limit = least_squares(seed, condition, size)
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((size,)), keras.layers.Dense(1, use_bias=False)])
        model.compile("sgd", "mse", **compile_arguments(steps_per_execution=20))
        data = tf.data.Dataset.from_tensors((x.astype("float32"), y.astype("float32"))).repeat()
        result = kc.lr_range_test(model, data, steps=200, verbose=0)
        assert limit / 20 < result.bounds()[1] < limit


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_suggestions_sit_where_the_loss_falls(noise):
    for seed in range(5):
        result = kc.RangeTestResult(RATES, network_losses(noise, seed))
        assert np.log10(result.suggest("steepest")) == pytest.approx(-2.5, abs=0.25)
        base_lr, max_lr = np.log10(result.bounds())
        assert -3.6 < base_lr < -2.3
        assert -2 < max_lr < -0.7
        assert np.log10(result.suggest("minimum")) == pytest.approx(-2.0, abs=1.0)


def test_smoothing_does_not_move_the_curve():
    for centre in (-4.0, -3.0, -2.0):
        exact = network_losses(centre=centre)
        smoothed = kc.RangeTestResult(RATES, network_losses(0.05, 1, centre)).smoothed_losses
        before = DECADES < -0.6
        assert np.abs(smoothed - exact)[before].max() < 0.16
        # The rate at which the middle of the fall is reached.
        crossing = np.flatnonzero(smoothed < 1.55)[0]
        assert DECADES[crossing] == pytest.approx(centre, abs=0.12)


def test_valley_is_the_middle_of_the_longest_decrease_as_in_fastai():
    for seed in range(5):
        result = kc.RangeTestResult(RATES, network_losses(0.1, seed))
        losses = result.smoothed_losses
        lengths, end = [1] * 100, 0
        for i in range(100):
            for j in range(i):
                if losses[i] < losses[j]:
                    lengths[i] = max(lengths[i], lengths[j] + 1)
            if lengths[i] > lengths[end]:
                end = i
        third = lengths[end] / 3
        index = max(end - lengths[end], 0) + int(third) + int(third / 2)
        assert result.suggest("valley") == pytest.approx(RATES[index])


def digits():
    sklearn = pytest.importorskip("sklearn.datasets")
    x, y = sklearn.load_digits(return_X_y=True)
    return (x / 16).astype("float32"), y


def model_on_digits(seed, optimizer):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input((64,)), *layers])
    arguments = compile_arguments(steps_per_execution=45)
    model.compile(optimizer, "sparse_categorical_crossentropy", **arguments)
    return model


@pytest.mark.slow
def test_on_digits_the_suggested_rate_beats_a_tenth_and_ten_times_of_it():
    x, y = digits()
    optimizers = [
        keras.optimizers.SGD,
        lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
        keras.optimizers.Adam,
    ]
    for optimizer in optimizers:
        losses = np.zeros(3)
        # One training may be lucky at ten times the rate; two seldom are.
        for seed in range(2):
            result = kc.lr_range_test(model_on_digits(seed, optimizer(0.01)), x, y, verbose=0)
            for index, rate in enumerate(result.suggest() * np.array([0.1, 1, 10])):
                model = model_on_digits(seed, optimizer(rate))
                model.fit(x[:1400], y[:1400], epochs=4, verbose=0)
                losses[index] += model.evaluate(x[1400:], y[1400:], verbose=0)
        assert losses[1] < 0.8 * min(losses[0], losses[2])


@pytest.mark.slow
def test_on_digits_a_rate_is_found_from_every_seed():
    """A plain SGD, whose loss falls little and late in 100 steps."""
    x, y = digits()
    for seed in range(5):
        model = model_on_digits(seed, keras.optimizers.SGD())
        result = kc.lr_range_test(model, x, y, verbose=0)
        assert 0.03 < result.suggest() < 1.0


def test_where_no_answer_is_sound_it_says_what_to_change():
    rng = np.random.default_rng(0)
    cases = [
        (np.full(100, 2.3), False, "never falls"),
        (2.3 + DECADES + 8, False, "never falls"),
        (2.3 + 0.2 * rng.normal(size=100), False, "never falls"),
        (2.3 + 0.2 * rng.normal(size=100), True, "larger batches"),
        ([np.nan], True, "first loss is nan"),
        ([np.inf], True, "first loss is inf"),
        ([2.0, 1.0, 9.0, np.inf], True, "lower `min_lr`"),
        (network_losses()[:9], False, "Take more `steps`"),
        ([], False, "0 finite losses"),
    ]
    for losses, diverged, message in cases:
        result = kc.RangeTestResult(RATES[: len(losses)], losses, diverged)
        for ask in (result.suggest, result.bounds):
            with pytest.raises(ValueError, match=message):
                ask()
        assert len(result.smoothed_losses) == len(losses)
    with pytest.raises(ValueError, match="`method` must be one of"):
        kc.RangeTestResult(RATES, network_losses()).suggest("best")
    with pytest.raises(ValueError, match="must be positive and increasing"):
        kc.RangeTestResult(RATES[::-1], network_losses())
    with pytest.raises(ValueError, match="equal length"):
        kc.RangeTestResult(RATES, network_losses()[:5])


def test_noise_alone_gets_no_answer():
    answers = 0
    for seed in range(100):
        losses = 2.3 + 0.2 * np.random.default_rng(seed).normal(size=100)
        try:
            kc.RangeTestResult(RATES, losses).suggest()
            answers += 1
        except ValueError:
            pass
    assert answers <= 1


def test_a_small_fall_of_a_trained_model_and_negative_losses_are_understood():
    for shift in (0.3, -5.0):
        losses = 0.05 * network_losses(0.02) + shift
        assert np.log10(kc.RangeTestResult(RATES, losses).suggest()) == pytest.approx(-2.5, abs=0.3)


def test_save_and_load(tmp_path):
    losses = network_losses(0.1)
    losses[-1] = np.inf
    result = kc.RangeTestResult(RATES, losses, True, "val_loss")
    result.save(tmp_path / "test.json")
    loaded = kc.RangeTestResult.load(str(tmp_path / "test.json"))
    for name in ("learning_rates", "losses", "smoothed_losses"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(result, name))
    assert (loaded.diverged, loaded.loss_name) == (True, "val_loss")
    assert loaded.bounds() == result.bounds()
    content = json.loads((tmp_path / "test.json").read_text(), parse_constant=pytest.fail)
    assert content["version"] == 1
    for other in ({**content, "version": 2}, {}, [], None):
        (tmp_path / "other.json").write_text(json.dumps(other))
        with pytest.raises(ValueError, match=r"Upgrade|`RangeTestResult.save` wrote"):
            kc.RangeTestResult.load(tmp_path / "other.json")


def test_a_file_of_the_first_version_is_read_for_ever(tmp_path):
    (tmp_path / "old.json").write_text(
        '{"format": "keras_cyclic.RangeTestResult", "version": 1, "learning_rates": [0.1, 0.2], '
        '"losses": [1.0, "nan"], "diverged": true, "loss_name": "loss"}'
    )
    result = kc.RangeTestResult.load(tmp_path / "old.json")
    np.testing.assert_array_equal(result.losses, [1.0, np.nan])
    assert result.diverged


def test_plot_marks_the_answers():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    result = kc.RangeTestResult(RATES, network_losses(0.05))
    ax = result.plot()
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "loss")
    raw, smoothed = ax.lines[:2]
    np.testing.assert_array_equal(raw.get_ydata(), result.losses)
    np.testing.assert_array_equal(smoothed.get_ydata(), result.smoothed_losses)
    drawn = [float(np.ravel(line.get_xdata())[0]) for line in ax.lines[2:]]
    assert drawn == pytest.approx([*result.bounds(), result.suggest()])
    # Without an answer, too, there is a picture, on the axes that were given.
    assert kc.RangeTestResult(RATES, np.full(100, 2.0)).plot(ax) is ax
    assert kc.RangeTestResult([0.1], [np.nan], True).plot() is not ax
    matplotlib.pyplot.close("all")


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install keras_cyclic\[plot\]"):
        kc.RangeTestResult(RATES, network_losses()).plot()
