"""CycleEarlyStopping: what it judges, when it stops, and which weights are left."""

import math
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_cyclic as kc
from tests.callbacks.seen_rates import Calls, build, seen, train

S = kc.schedules
CycleEarlyStopping = kc.callbacks.CycleEarlyStopping


def judged_epochs(epochs, steps_per_epoch, cycle, values):
    """The first epochs with a value at or after each cycle's end; one for ends it has in common."""
    judged, waiting = [], False
    for epoch in range(epochs):
        for step in range(epoch * steps_per_epoch + 1, (epoch + 1) * steps_per_epoch + 1):
            waiting = waiting or step % cycle == 0
        if waiting and values[epoch] is not None:
            judged.append(epoch)
            waiting = False
    return judged


def reference(values, judged, patience, min_delta=0.0, baseline=None, start_from_epoch=0):
    """After which epoch training stops, or None, and the epoch with the best value, or None."""
    best, best_epoch, wait = None, None, 0
    for epoch in judged:
        if epoch < start_from_epoch:
            continue
        value = values[epoch]
        wait += 1
        if not math.isnan(value) and (best is None or value < best - min_delta):
            best, best_epoch = value, epoch
            if baseline is None or value < baseline - min_delta:
                wait = 0
        elif wait >= patience:
            return epoch, best_epoch
    return None, best_epoch


MODEL = build(keras.optimizers.SGD(S.Constant(0.1)), 1)


def drive(callback, model, values, steps_per_epoch):
    """What `fit` does, without the training, with a weight that is the number of the epoch."""
    callback.set_model(model)
    model.stop_training = False
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        model.optimizer.iterations.assign_add(steps_per_epoch)
        model.set_weights([np.full((1, 1), epoch)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            callback.on_epoch_end(epoch, {} if value is None else {callback.monitor: value})
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch


@given(
    values=st.lists(
        st.one_of(st.none(), st.sampled_from([0.0, 0.5, 0.9, 1.0, 2.0, math.nan, math.inf])),
        min_size=1,
        max_size=12,
    ),
    cycle=st.integers(1, 9),
    steps_per_epoch=st.integers(1, 4),
    mode=st.sampled_from(["auto", "min", "max"]),
    restore=st.booleans(),
    patience=st.integers(0, 3),
    min_delta=st.sampled_from([0.0, 0.2]),
    baseline=st.sampled_from([None, 0.95]),
    start_from_epoch=st.sampled_from([0, 3]),
)
def test_any_cycles_and_values(values, cycle, steps_per_epoch, mode, restore, **arguments):
    judged = judged_epochs(len(values), steps_per_epoch, cycle, values)
    stop, best = reference(values, judged, **arguments)
    if mode == "max":
        values = [None if value is None else -value for value in values]
        if arguments["baseline"] is not None:
            arguments["baseline"] *= -1
    MODEL.optimizer.iterations.assign(0)
    MODEL.optimizer.learning_rate = S.CosineAnnealingWarmRestarts(0.1, cycle)
    callback = CycleEarlyStopping(mode=mode, restore_best_weights=restore, **arguments)
    last = drive(callback, MODEL, values, steps_per_epoch)
    assert last == (len(values) - 1 if stop is None else stop)
    if restore and best is not None:
        assert seen(MODEL) == [-best]
    elif not restore:
        assert seen(MODEL) == [-last]


def test_fit_ends_with_the_weights_of_the_judged_epoch(capsys):
    # Cycles of 6 steps end in the middle of epochs of 4, and every second epoch is validated:
    # the ends at steps 6, 12, 18 and 24 are judged after epochs 2, 4, 6 and 6 again, counted
    # from 1. The weight falls by 0.1 a step, and the validation loss is (weight + 1.5)**2.
    inputs = keras.Input((1,))
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(inputs, layer(inputs))
    rate = S.CosineAnnealingWarmRestarts(0.1, 6, final_lr=0.1)
    model.compile(
        keras.optimizers.SGD(rate),
        lambda y_true, y_pred: keras.ops.where(y_true > 0, keras.ops.square(y_pred + 1.5), y_pred),
    )
    calls = Calls(lambda: model.get_weights()[0].item())
    stop = CycleEarlyStopping(patience=1, restore_best_weights=True, verbose=1)
    history = model.fit(
        np.ones((4, 1)),
        np.zeros((4, 1)),
        validation_data=(np.ones((1, 1)), np.ones((1, 1))),
        validation_freq=2,
        batch_size=1,
        epochs=20,
        verbose=0,
        callbacks=[calls, stop],
    )
    losses = [(1.5 - 0.8) ** 2, (1.5 - 1.6) ** 2, (1.5 - 2.4) ** 2]
    np.testing.assert_allclose(history.history["val_loss"], losses, rtol=1e-4)
    assert len(history.epoch) == 6
    assert model.get_weights()[0].item() == calls.watched[3]
    np.testing.assert_allclose(history.history["learning_rate"], [0.1] * 6, rtol=1e-6)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) == 2
    assert "Epoch 6: CycleEarlyStopping" in lines[0]
    assert lines[1].endswith("epoch 4.")


def test_says_so_when_it_stops_after_the_first_epoch(capsys):
    MODEL.optimizer.learning_rate = S.CosineAnnealingWarmRestarts(0.1, 1)
    callback = CycleEarlyStopping(verbose=1)
    assert drive(callback, MODEL, [math.nan, 1.0], 1) == 0
    assert "Epoch 1: CycleEarlyStopping" in capsys.readouterr().out


@pytest.mark.parametrize("rate", [0.1, lambda: 0.1, S.LinearDecay(0.1, 10)])
def test_cycles_that_cannot_be_known(rate):
    model = build(keras.optimizers.SGD(rate), 4)
    calls = Calls()
    with pytest.raises(ValueError, match="CycleEarlyStopping waits for the ends of cycles"):
        train(model, [1.0], [calls, CycleEarlyStopping()], 4)
    assert calls.batches == 0
    assert not seen(model).any()


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        *((ValueError, {name: -1}) for name in ("patience", "min_delta", "start_from_epoch")),
        *((ValueError, {name: math.nan}) for name in ("patience", "min_delta", "baseline")),
        (ValueError, {"patience": 0.5}),
        (ValueError, {"mode": "down"}),
        (TypeError, {"restore_best_weights": 1}),
        (TypeError, {"monitor": None}),
    ],
)
def test_bad_input(error, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(error, match=f"Argument `{name}`") as caught:
        CycleEarlyStopping(**arguments)
    assert f"{name}={value!r}" in str(caught.value)


def test_constructor_is_keras():
    ours, theirs = CycleEarlyStopping(), keras.callbacks.EarlyStopping()
    for name in ours.get_config():
        assert getattr(ours, name) == getattr(theirs, name)


def test_used_again_and_made_again():
    callback = CycleEarlyStopping("val_quality", mode="max", min_delta=0.1, patience=1)
    other = build(keras.optimizers.SGD(S.CosineAnnealingWarmRestarts(0.1, 2)), 1)
    MODEL.optimizer.learning_rate = S.CosineAnnealingWarmRestarts(0.1, 2)
    MODEL.optimizer.iterations.assign(0)
    # A second fit, and a second model, begin with a new best value.
    for model, values in [(MODEL, [9.0, 9.2, 9.25]), (MODEL, [1, 1.2, 1.25]), (other, [0, 1, 1])]:
        assert drive(callback, model, values, 2) == 2
        made_again = type(callback).from_config(callback.get_config())
        assert made_again.get_config() == callback.get_config()
        assert drive(made_again, model, values, 2) == 2


def test_a_saved_model_has_its_own_state_after_another_one_was_trained(tmp_path):
    callback = kc.callbacks.ReduceLROnPlateau(patience=1, factor=0.5)
    first, second = (build(keras.optimizers.SGD(S.Constant(0.2)), 1) for _ in range(2))
    drive(callback, first, [1.0, 1.0], 1)
    drive(callback, second, [5.0, 5.0, 5.0], 1)
    first.save_weights(tmp_path / "first.weights.h5")
    loaded = build(keras.optimizers.SGD(S.Constant(0.2)), 1)
    other = kc.callbacks.ReduceLROnPlateau(patience=1, factor=0.5)
    other.set_model(loaded)
    loaded.load_weights(tmp_path / "first.weights.h5")
    assert (other.best, loaded.optimizer._learning_rate.scale) == (1.0, 0.5)


def test_unknown_direction_is_refused_as_by_keras():
    MODEL.optimizer.learning_rate = S.CosineAnnealingWarmRestarts(0.1, 2)
    for cls in (CycleEarlyStopping, kc.callbacks.AdaptiveBounds):
        with pytest.raises(ValueError, match="isn't able to automatically determine"):
            drive(cls("val_quality"), MODEL, [1.0], 1)


def test_all_together_after_a_range_test():
    model = build(keras.optimizers.SGD(S.Triangular(0.02, 0.2, 2), momentum=0.5), 40)
    x, y = np.eye(40, dtype="float32"), np.zeros((40, 1), "float32")
    kc.lr_range_test(model, x, y, steps=10, batch_size=1, verbose=0)
    assert not seen(model).any()

    momenta = []
    watch = Calls(lambda: momenta.append(float(model.optimizer.momentum)))
    # Steps 0 to 3 are the first cycle and the first epoch, and so on.
    callbacks = [
        CycleEarlyStopping(patience=4),
        kc.callbacks.AdaptiveBounds(factor=0.5, patience=2),
        kc.callbacks.CyclicalMomentum(0.0, 0.0),
        kc.callbacks.ReduceLROnPlateau(factor=0.1, patience=3, at_cycle_ends=True),
        watch,
    ]
    train(model, [1.0] * 10, callbacks, 4)
    shape = np.tile([0.0, 0.5, 1.0, 0.5], 5)
    top = np.repeat([0.2, 0.2, 0.2, 0.1, 0.1], 4)
    scale = np.repeat([1, 1, 1, 1, 0.1], 4)
    expected = np.append((0.02 + (top - 0.02) * shape) * scale, np.zeros(20))
    np.testing.assert_allclose(seen(model), expected, rtol=3e-6)
    assert momenta == [0.0] * 5
    assert model.optimizer.momentum == 0.5

    # What they left behind is no hindrance to another range test, nor moved by it.
    weights = model.get_weights()
    kc.lr_range_test(model, x, y, steps=10, batch_size=1, verbose=0)
    np.testing.assert_array_equal(model.get_weights(), weights)
    assert model.optimizer._learning_rate.scale == 0.1
