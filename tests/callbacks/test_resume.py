"""What was interrupted and goes on ends as what was not, bit for bit."""

import copy
import functools
import json
import os
import pickle
import random
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import BACKEND, compile_arguments
from tests.callbacks import resumed_training as training
from tests.callbacks.resumed_training import At, build, fit, reactions

DONE = training.INTERRUPTED_AT // training.STEPS_PER_EPOCH
ALL = ("plateau", "bounds", "stopping")
needs_multi = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has no MultiOptimizer"
)


@functools.cache
def uninterrupted(rate, names=ALL):
    model = build(rate)
    history = fit(model, reactions(rate, names))
    return history, model.get_weights()


def assert_is_the_rest(history, weights, rate, names=ALL):
    """Losses, validation and rates are those of the run that was not interrupted."""
    whole, last_weights = uninterrupted(rate, names)
    assert len(history["loss"]) < len(whole["loss"])
    assert history == {name: values[-len(history["loss"]) :] for name, values in whole.items()}
    assert all(np.array_equal(a, b) for a, b in zip(weights, last_weights, strict=True))


class Interruption(Exception):
    pass


def interrupt():
    raise Interruption


def interrupted(folder, rate, order, names=ALL):
    """Trains into the middle of an epoch; leaves a backup and both kinds of files of the last."""
    writers = [
        keras.callbacks.BackupAndRestore(folder / "backup"),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", save_weights_only=True),
    ]
    callbacks = training.in_order(reactions(rate, names), writers, order)
    with pytest.raises(Interruption):
        fit(build(rate), [*callbacks, At(training.INTERRUPTED_AT, interrupt)])


def by_whole_model(folder, rate, names, order):
    model = keras.models.load_model(folder / f"{DONE}.keras")
    return model, fit(model, reactions(rate, names), initial_epoch=DONE)


def by_weights(folder, rate, names, order):
    model, callbacks = build(rate), reactions(rate, names)
    for callback in callbacks:
        callback.set_model(model)
    model.load_weights(folder / f"{DONE}.weights.h5")
    return model, fit(model, callbacks, initial_epoch=DONE)


def by_backup(folder, rate, names, order):
    model = build(rate)
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    return model, fit(model, training.in_order(reactions(rate, names), [backup], order))


@pytest.mark.parametrize(
    ("rate", "names", "order", "ways"),
    [
        ("float", ALL, "before", [by_whole_model, by_weights, by_backup]),
        ("keras", ALL, "after", [by_backup]),
        ("cyclical", ALL, "before", [by_whole_model, by_weights, by_backup]),
        ("cyclical", ("bounds",), "before", [by_backup]),
        ("cyclical", ("stopping",), "after", [by_whole_model]),
        pytest.param("multi", ALL, "after", [by_whole_model, by_weights], marks=needs_multi),
        ("scaled", ALL, "before", [by_whole_model, by_backup]),
    ],
)
def test_an_interrupted_run_goes_on_as_if_it_was_not(tmp_path, rate, names, order, ways):
    interrupted(tmp_path, rate, order, names)
    for way in ways:
        model, history = way(tmp_path, rate, names, order)
        assert len(history["loss"]) == len(uninterrupted(rate, names)[0]["loss"]) - DONE
        assert_is_the_rest(history, model.get_weights(), rate, names)


def test_the_runs_have_something_to_lose():
    whole = uninterrupted("cyclical")[0]
    # It is stopped, and goes back to weights from before the interruption.
    assert DONE < len(whole["loss"]) < training.EPOCHS
    schedule = training._cyclical(0.02)
    first, rest = (
        [
            whole["learning_rate"][epoch] / float(schedule((epoch + 1) * training.STEPS_PER_EPOCH))
            for epoch in epochs
        ]
        for epochs in (range(DONE), range(DONE, len(whole["loss"])))
    )
    assert min(first) < 0.9
    assert min(rest) < 0.9 * min(first)
    rates = uninterrupted("float")[0]["learning_rate"]
    assert rates[0] > rates[DONE - 1] > rates[-1]


def run(folder, *arguments):
    command = [sys.executable, "-m", "tests.callbacks.resumed_training", *map(str, arguments)]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode == -9:
        return None
    assert done.returncode == 0, done.stderr
    with open(folder / "result.json") as file:
        return {"output": done.stdout, **json.load(file)}


@pytest.mark.slow
@pytest.mark.parametrize(("order", "seed"), [("before", 1), ("after", 2)])
def test_kill_9_in_the_middle_of_an_epoch(tmp_path, order, seed):
    moments = random.Random(seed)
    for epochs in (range(1, 4), range(4, 7)):
        step = moments.choice(epochs) * training.STEPS_PER_EPOCH
        step += moments.randrange(1, training.STEPS_PER_EPOCH)
        assert run(tmp_path, "killed", tmp_path, "cyclical", order, step) is None
    result = run(tmp_path, "killed", tmp_path, "cyclical", order, -1)
    assert_is_the_rest(result["history"], map(np.float32, result["weights"]), "cyclical")


@pytest.mark.slow
def test_a_process_loads_the_model_once_it_has_imported_keras_cyclic(tmp_path):
    interrupted(tmp_path, "cyclical", "after")
    os.rename(tmp_path / f"{DONE}.keras", tmp_path / "model.keras")
    result = run(tmp_path, "loaded", tmp_path)
    assert "Could not locate class" in result["output"]
    assert "keras_cyclic" in result["output"]
    assert_is_the_rest(result["history"], map(np.float32, result["weights"]), "cyclical")


def small_model(rate=None, loss="mse"):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    rate = rate or kc.schedules.Triangular(1e-3, 2e-2, 4)
    model.compile(keras.optimizers.SGD(rate), loss, **compile_arguments(jit_compile=False))
    return model


def plateau(monitor="val_loss", **arguments):
    """Halves the rate after each epoch but the first."""
    arguments = {"factor": 0.5, "patience": 1, "min_delta": 1e3, **arguments}
    return kc.callbacks.ReduceLROnPlateau(monitor, **arguments)


def stopping():
    return kc.callbacks.CycleEarlyStopping(patience=9, restore_best_weights=True)


def attached(model, *callbacks):
    for callback in callbacks:
        callback.set_model(model)
    return callbacks


def scale(model):
    return model.optimizer.learning_rate if rate_is_plain(model) else rate_of(model).scale


def rate_of(model):
    return model.optimizer._learning_rate


def rate_is_plain(model):
    return isinstance(rate_of(model), keras.Variable)


def remembered(*callbacks):
    return [keras.tree.map_structure(np.asarray, callback.snapshot()) for callback in callbacks]


def assert_same_memory(actual, expected):
    keras.tree.map_structure(np.testing.assert_array_equal, remembered(*actual), expected)


@pytest.fixture(scope="module")
def trained():
    """A model and its callbacks, not to be changed."""
    model, callbacks = small_model(), [plateau(), stopping()]
    fit(model, callbacks, 3)
    assert scale(model) == 0.25
    assert callbacks[1].best_weights is not None
    return model, callbacks, remembered(*callbacks)


def through_files(model, folder):
    for name in ("first.keras", "second.keras"):
        model.save(folder / name)
        model = keras.models.load_model(folder / name)
    return model


@pytest.mark.parametrize(
    "copied",
    [through_files, lambda model, _: pickle.loads(pickle.dumps(model)), lambda m, _: copy.copy(m)],
    ids=["saved_twice", "pickle", "copy"],
)
def test_copies_of_a_model_carry_the_state(tmp_path, trained, copied):
    model, _, expected = trained
    other = copied(model, tmp_path)
    assert scale(other) == 0.25
    if other.optimizer is not model.optimizer:
        assert_same_memory(attached(other, plateau(), stopping()), expected)


def test_a_clone_compiles_to_the_same_rate_and_begins_anew(trained):
    model = trained[0]
    clone = keras.models.clone_model(model)
    clone.compile_from_config(model.get_compile_config())
    (callback,) = attached(clone, plateau())
    assert scale(clone) == 0.25
    assert callback.best is None


def test_sharded_weights(tmp_path, trained):
    model, _, expected = trained
    model.save_weights(tmp_path / "all.weights.h5")
    with h5py.File(tmp_path / "all.weights.h5") as file:
        size = len(file["optimizer/callback_state/vars/state"])
    os.remove(tmp_path / "all.weights.h5")
    # In GB: the state and little else fit into one file.
    model.save_weights(tmp_path / "w.weights.json", max_shard_size=(size + 8) / 2**30)
    assert len(list(tmp_path.glob("*.h5"))) > 1
    other = small_model()
    callbacks = attached(other, plateau(), stopping())
    other.load_weights(tmp_path / "w.weights.json")
    assert_same_memory(callbacks, expected)


def test_files_with_a_state_load_where_no_callback_is(tmp_path, trained):
    model = trained[0]
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    bare = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert not hasattr(bare, "optimizer")
    other = small_model()
    other.load_weights(tmp_path / "m.weights.h5")
    assert int(other.optimizer.iterations) == 24
    for each in (bare, other):
        np.testing.assert_array_equal(each.get_weights()[0], model.get_weights()[0])


def test_files_from_before_the_callback_was_used(tmp_path):
    model = small_model()
    fit(model, None, 1)
    model.save(tmp_path / "old.keras")
    model.save_weights(tmp_path / "old.weights.h5")

    loaded = keras.models.load_model(tmp_path / "old.keras")
    fit(loaded, [plateau(), stopping()], 3)
    assert scale(loaded) == 0.25

    fresh = small_model()
    callbacks = attached(fresh, plateau(), stopping())
    fresh.load_weights(tmp_path / "old.weights.h5")
    for each in (fresh, loaded):
        callback = attached(each, plateau())[0] if each is loaded else callbacks[0]
        each.load_weights(tmp_path / "old.weights.h5")
        assert scale(each) == 1.0
        assert callback.best is None
        assert int(each.optimizer.iterations) == 8


def write_state(path, change):
    with h5py.File(path, "a") as file:
        group = file["optimizer/callback_state/vars"]
        changed = change(json.loads(group["state"][()].tobytes()))
        del group["state"]
        group["state"] = changed


def as_bytes(entries):
    return np.frombuffer(json.dumps(entries).encode(), "uint8")


PLATEAU = "ReduceLROnPlateau:val_loss:0"


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: np.arange(5),
        lambda entries: as_bytes([1, 2]),
        lambda entries: as_bytes(dict.fromkeys(entries, 3)),
        lambda entries: as_bytes({PLATEAU: {**entries[PLATEAU], "scales": ["much"]}}),
    ],
    ids=["no_json", "list", "no_entries", "bad_scale"],
)
def test_what_cannot_be_read_is_left_out_with_a_warning(tmp_path, trained, change):
    trained[0].save_weights(tmp_path / "m.weights.h5")
    write_state(tmp_path / "m.weights.h5", change)
    model = small_model()
    (callback,) = attached(model, plateau())
    with pytest.warns(UserWarning, match="cannot be read, and is left out"):
        model.load_weights(tmp_path / "m.weights.h5")
    assert scale(model) == 1.0
    assert callback.best is None
    assert int(model.optimizer.iterations) == 24


def test_a_state_sets_nothing_but_what_is_remembered(tmp_path, trained):
    trained[0].save_weights(tmp_path / "m.weights.h5")

    def add(entries):
        return as_bytes({PLATEAU: {**entries[PLATEAU], "on_epoch_end": 1, "factor": 7}})

    write_state(tmp_path / "m.weights.h5", add)
    (callback,) = attached(small_model(), plateau(mode="max"))
    callback.model.load_weights(tmp_path / "m.weights.h5")
    assert callable(callback.on_epoch_end)
    assert callback.factor == 0.5
    # What the user says wins over what was saved.
    assert callback.direction == "max"
    assert callback.best == trained[1][0].best


def test_best_weights_of_another_architecture_are_left_out(tmp_path, trained):
    trained[0].save_weights(tmp_path / "m.weights.h5")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(kc.schedules.Triangular(1e-3, 2e-2, 4)), "mse")
    (callback,) = attached(model, stopping())
    with (
        pytest.warns(UserWarning, match="state of CycleEarlyStopping"),
        pytest.warns(UserWarning, match="2 objects could not be loaded"),
    ):
        model.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    assert callback.best_weights is None


def test_two_plateaus_in_one_list(tmp_path):
    traces = []

    def loss(y, prediction):
        traces.append(1)
        return keras.losses.mean_squared_error(y, prediction)

    def both():
        return [plateau(min_lr=1e-6), plateau("loss", patience=2, min_lr=1e-7)]

    model = small_model(loss=loss)
    whole = fit(model, both(), 6)["learning_rate"]
    # With two lowest rates, the step is not compiled again for the one and the other: once or
    # twice for the steps and for the validation.
    if BACKEND == "tensorflow":
        assert len(traces) <= 4

    half = small_model()
    fit(half, both(), 3)
    half.save_weights(tmp_path / "half.weights.h5")
    other = small_model()
    callbacks = attached(other, *both())
    other.load_weights(tmp_path / "half.weights.h5")
    assert fit(other, callbacks, 6, 3)["learning_rate"] == whole[3:]
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_a_callback_without_an_entry_leaves_the_reduced_rate(tmp_path, trained):
    trained[0].save_weights(tmp_path / "m.weights.h5")
    model = small_model()
    callbacks = attached(model, plateau(), plateau("loss"))
    model.load_weights(tmp_path / "m.weights.h5")
    assert scale(model) == 0.25
    attached(model, *callbacks)
    assert scale(model) == 0.25
    assert callbacks[1].best is None


def test_a_later_fit_with_other_callbacks(tmp_path, trained):
    trained[0].save(tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras")
    fit(model, [plateau("loss")], 5, 3)
    assert scale(model) == 0.125
    # What was loaded counted for that `fit`: not for this one, and not for a file.
    (callback,) = attached(model, plateau())
    assert scale(model) == 0.125
    assert callback.best is None
    fit(model, [stopping()], 6, 5)
    model.save(tmp_path / "m.keras")
    other = keras.models.load_model(tmp_path / "m.keras")
    (callback,) = attached(other, plateau())
    assert scale(other) == 0.125
    assert callback.best is None


def test_a_callback_that_goes_over_to_another_model_leaves_its_state_behind(tmp_path):
    model, callback = small_model(), plateau()
    fit(model, [callback], 3)
    best = callback.best
    attached(small_model(), callback)
    model.save(tmp_path / "m.keras")
    other = keras.models.load_model(tmp_path / "m.keras")
    (callback,) = attached(other, plateau())
    assert scale(other) == 0.25
    assert callback.best == best


def test_model_checkpoints_of_the_best_only(tmp_path):
    best_only = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        keras.callbacks.ModelCheckpoint(
            tmp_path / "best.weights.h5", save_best_only=True, save_weights_only=True
        ),
    ]
    model = small_model(0.01)
    history = fit(model, [*best_only, plateau(min_delta=0.0)], 3)
    loaded = keras.models.load_model(tmp_path / "best.keras")
    other = small_model(0.01)
    callbacks = [*attached(loaded, plateau()), *attached(other, plateau())]
    other.load_weights(tmp_path / "best.weights.h5")
    # The files hold the judgement of the epoch that they were written after.
    assert [callback.best for callback in callbacks] == [min(history["val_loss"])] * 2


@keras.saving.register_keras_serializable("tests")
class OwnCompileConfig(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def compile(self, optimizer, weight):
        super().compile(
            optimizer, "mse", loss_weights=weight, **compile_arguments(jit_compile=False)
        )
        self.weight = weight

    def get_compile_config(self):
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        return {"optimizer": optimizer, "weight": self.weight}

    def compile_from_config(self, config):
        self.compile(keras.optimizers.deserialize(config["optimizer"]), config["weight"])
        self.optimizer.build(self.trainable_variables)


@keras.saving.register_keras_serializable("tests")
class NoCompileConfig(OwnCompileConfig):
    def get_compile_config(self):
        return None


def test_models_with_a_compile_config_of_their_own(tmp_path):
    model = OwnCompileConfig()
    model(training.X)
    model.compile(keras.optimizers.Adam(0.08), 3.0)
    fit(model, [plateau()], 3)
    loaded = through_files(model, tmp_path)
    (callback,) = attached(loaded, plateau())
    assert loaded.weight == 3.0
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.02)
    assert callback.best == model.optimizer.callback_state._owners[PLATEAU].best

    model = NoCompileConfig()
    model(training.X)
    model.compile(keras.optimizers.Adam(0.08), 3.0)
    attached(model, plateau())
    model.save(tmp_path / "none.keras")
    keras.models.load_model(tmp_path / "none.keras")


def test_compiled_models_inside_one_another(tmp_path, trained):
    inner = trained[0]
    outer = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(1)])
    outer.compile(keras.optimizers.SGD(0.02, momentum=0.5), "mse")
    attached(outer, plateau("loss"))
    loaded = through_files(outer, tmp_path)
    assert loaded.optimizer.momentum == 0.5
    assert scale(loaded.layers[0]) == 0.25
    (callback,) = attached(loaded.layers[0], plateau())
    assert callback.best == trained[1][0].best


def test_a_model_without_an_optimizer_is_refused():
    model = small_model()
    model.compile(None, "mse")
    with pytest.raises(ValueError, match="must be compiled"):
        fit(model, [plateau()], 1)
