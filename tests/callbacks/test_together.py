"""Several callbacks in one `fit`: none of them changes what another one sees."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def linear_model(optimizer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def fit(model, callbacks, epochs=3):
    return model.fit(X, Y, 16, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)


def reduction():
    return kc.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e3)


def test_the_rate_of_an_epochs_end_is_logged_in_any_order():
    for place in (0, 1):
        callbacks = [kc.callbacks.CycleEarlyStopping("loss", patience=9)]
        callbacks.insert(place, reduction())
        rate = kc.schedules.CosineAnnealingWarmRestarts(0.1, first_decay_steps=4)
        history = fit(linear_model(keras.optimizers.SGD(rate)), callbacks)
        # It is reduced after the second epoch, so from the third one on.
        np.testing.assert_allclose(history.history["learning_rate"], [0.1, 0.1, 0.05], rtol=1e-6)


@pytest.mark.parametrize("first", [True, False])
def test_a_range_test_may_stand_anywhere(first):
    rate = kc.schedules.Triangular(0.01, 0.1, step_size=4)
    model = linear_model(keras.optimizers.SGD(rate, momentum=0.9))
    before = model.get_weights()
    test = kc.callbacks.LRRangeTest(steps=10)
    others = [
        kc.callbacks.CyclicalMomentum(),
        kc.callbacks.HyperparameterSchedule("clipnorm", kc.schedules.Constant(1.0)),
        kc.callbacks.AdaptiveBounds("loss"),
    ][: 1 if first else 3]
    if not first:
        model.optimizer.clipnorm = 5.0
    fit(model, [test, *others] if first else [others[0], test, *others[1:]], epochs=5)
    assert len(test.result.losses) == 10
    for weight, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, old)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    history = fit(model, [kc.callbacks.LearningRateMonitor()])
    np.testing.assert_allclose(history.history["learning_rate"], [0.1, 0.01, 0.1], rtol=1e-6)


def test_what_a_one_cycle_call_saves_has_what_callbacks_made_of_the_models_own_rate(tmp_path):
    rate = kc.schedules.Triangular(0.01, 0.1, step_size=2)
    model = linear_model(keras.optimizers.SGD(rate, momentum=0.9))
    bounds = kc.callbacks.AdaptiveBounds("loss", patience=2, min_delta=1e3)
    fit(model, [reduction(), bounds])  # two reductions, one move
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    given = {"max_lr": 0.1, "batch_size": 16, "verbose": 0}
    kc.fit_one_cycle(model, X, Y, epochs=3, callbacks=[reduction(), checkpoint], **given)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for callback in (reduction(), kc.callbacks.AdaptiveBounds("loss")):
        callback.set_model(loaded)
    for each in (model, loaded):
        scaled = each.optimizer._learning_rate
        assert scaled.scale == 0.25
        assert (scaled.schedule.base_lr, scaled.schedule.max_lr) == (0.01, 0.1 * 0.5)
    # A cycle has its own peak, whatever the model's own rate was scaled to.
    monitor = kc.callbacks.LearningRateMonitor(per_step=True)
    kc.fit_one_cycle(loaded, X, Y, epochs=3, callbacks=[reduction(), monitor], **given)
    assert max(monitor.history["learning_rate"]) == pytest.approx(0.1, rel=0.1)


def test_a_second_cycle_goes_on_from_its_backup_with_all_callbacks(tmp_path):
    def call(folder, *more):
        snapshots = kc.callbacks.SnapshotEnsemble(tmp_path / folder / "{cycle}.keras")
        callbacks = [reduction(), kc.callbacks.CycleEarlyStopping("loss"), snapshots, *more]
        given = {"epochs": 4, "max_lr": 0.1, "batch_size": 16, "shuffle": False, "verbose": 0}
        return kc.fit_one_cycle(model, X, Y, callbacks=callbacks, **given), snapshots

    def new_model():
        return linear_model(keras.optimizers.SGD(0.01, momentum=0.9))

    def interrupt(epoch, logs):
        if epoch == 3:
            raise KeyboardInterrupt

    model = new_model()
    fit(model, [], epochs=1)
    history, snapshots = call("whole")
    expected = model.get_weights()

    model = new_model()
    fit(model, [], epochs=1)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        call("killed", backup, keras.callbacks.LambdaCallback(on_epoch_begin=interrupt))
    # New, so that only the backup knows that the cycle began after an epoch.
    model = new_model()
    resumed, resumed_snapshots = call("killed", backup)
    rates = history.history["learning_rate"]
    assert resumed.history["learning_rate"] == rates[-1:]
    assert snapshots.steps == resumed_snapshots.steps == {1: 20}
    for weight, other in zip(model.get_weights(), expected):
        np.testing.assert_allclose(weight, other, rtol=1e-6)
