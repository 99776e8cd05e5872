"""What a full disk, a read-only folder and an interrupt leave of snapshots and of the training."""

import pathlib
import signal
import warnings

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.faults import disks

X = np.random.default_rng(0).normal(size=(40, 64)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
BROKEN, MENDED = 9, 17


def compiled(**kwargs):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(1)])
    # Cycles end at steps 4, 8, 12, 16 and 20.
    rate = kc.schedules.CosineAnnealingWarmRestarts(0.01, 4)
    model.compile(keras.optimizers.SGD(rate, **kwargs), "mse", jit_compile=False)
    return model


def fit(model, *callbacks, epochs=2):
    given = {"batch_size": 4, "shuffle": False, "verbose": 0}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **given).history


class AtSteps(keras.callbacks.Callback):
    """Calls functions when so many steps have been made, by that number."""

    def __init__(self, functions):
        super().__init__()
        self._functions = functions

    def on_train_batch_end(self, batch, logs=None):
        self._functions.get(int(self.model.optimizer.iterations), lambda: None)()


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).rglob("*"))


def step_in(path):
    """The step of a snapshot, which loads if the file is whole."""
    return int(keras.saving.load_model(path).optimizer.iterations)


@pytest.fixture(scope="module")
def undisturbed():
    model = compiled()
    return fit(model)["loss"], model.get_weights()


@pytest.fixture
def disk(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


every_disk = pytest.mark.parametrize(
    "disk",
    [disks.FileSizeLimit, disks.FullDisk, disks.ReadOnlyDisk, disks.ReadOnlyFolder],
    indirect=True,
    ids=lambda kind: kind.__name__,
)


@every_disk
def test_a_snapshot_that_cannot_be_written(disk, undisturbed):
    old = disk.folder / "4.keras"
    old.write_text("of an older run")
    listed = {}
    snapshots = kc.callbacks.SnapshotEnsemble(disk.folder / "{cycle}.keras", keep=2)

    def look():
        listed[int(model.optimizer.iterations)] = list(snapshots.filepaths)

    watch = AtSteps({BROKEN: look, MENDED: look})
    faults = AtSteps({BROKEN: disk.break_it, MENDED: disk.mend_it})
    model = compiled()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        losses = fit(model, snapshots, watch, faults)["loss"]
    told = [str(warning.message) for warning in warned if "Snapshot" in str(warning.message)]
    assert len(told) == 2
    for text, cycle, step in zip(told, (3, 4), (12, 16), strict=True):
        path = str(disk.folder / f"{cycle}.keras")
        assert text == (
            f"SnapshotEnsemble could not write {path!r} at step {step}: {disk.reason}. The "
            f"training goes on, and has no snapshot of cycle {cycle}."
        )
    assert snapshots.steps == {1: 4, 2: 8, 5: 20}
    # Older ones are not deleted for those that are not there, and nothing else is listed.
    kept = [str(disk.folder / f"{cycle}.keras") for cycle in (1, 2)]
    assert listed == {BROKEN: kept, MENDED: kept}
    assert names(disk.folder) == ["2.keras", "4.keras", "5.keras"]
    assert snapshots.filepaths == [str(disk.folder / f"{cycle}.keras") for cycle in (2, 5)]
    assert [step_in(path) for path in snapshots.filepaths] == [8, 20]
    assert old.read_text() == "of an older run"
    assert kc.load_ensemble(snapshots.filepaths).predict(X, verbose=0).shape == (40, 1)
    assert losses == undisturbed[0]
    np.testing.assert_array_equal(model.get_weights()[0], undisturbed[1][0])


def test_a_full_disk_and_weights_that_go_through_it(tmp_path, monkeypatch):
    """Keras writes the weights of large models to the disk first, with an error of its own kind."""
    saving = pytest.importorskip("keras.src.saving.saving_lib")
    monkeypatch.setattr(saving, "is_memory_sufficient", lambda model: False)
    disk = disks.FileSizeLimit(tmp_path)
    snapshots = kc.callbacks.SnapshotEnsemble(tmp_path / "{cycle}.keras")
    try:
        with pytest.warns(UserWarning, match=r"2\.keras' at step 8: File too large\. The training"):
            fit(compiled(), snapshots, AtSteps({7: disk.break_it, 9: disk.mend_it}), epochs=1)
    finally:
        disk.close()
    assert names(tmp_path) == ["1.keras"]
    assert step_in(tmp_path / "1.keras") == 4


def test_what_is_not_the_disks_fault_is_an_error(tmp_path, monkeypatch):
    model = compiled()

    def get_config():
        raise NotImplementedError("no config")

    monkeypatch.setattr(model.layers[0], "get_config", get_config)
    with pytest.raises(NotImplementedError, match="no config"):
        fit(model, kc.callbacks.SnapshotEnsemble(tmp_path / "{cycle}.keras"), epochs=1)
    assert names(tmp_path) == []


@every_disk
def test_an_unusable_folder_is_an_error_before_the_first_step(disk):
    if isinstance(disk, disks.FileSizeLimit):
        disk.folder = disk.folder / "file"
        disk.folder.write_text("no folder")
    else:
        disk.break_it()
    model = compiled()
    folder = str(disk.folder / "new" if isinstance(disk, disks.ReadOnlyDisk) else disk.folder)
    try:
        with pytest.raises(OSError, match=r"SnapshotEnsemble cannot write .*1\.keras'") as error:
            fit(model, kc.callbacks.SnapshotEnsemble(folder + "/{cycle}.keras"))
    finally:
        if not isinstance(disk, disks.FileSizeLimit):
            disk.mend_it()
    assert f"filepath='{folder}/{{cycle}}.keras'" in str(error.value)
    assert int(model.optimizer.iterations) == 0


@every_disk
def test_a_range_test_result_is_written_whole_or_not_at_all(disk):
    rates = np.logspace(-6, 0, 100)
    result = kc.RangeTestResult(rates, losses=2 / (1 + 1e3 * rates) + rates)
    path = disk.folder / "result.json"
    result.save(path)
    before = path.read_bytes()
    disk.break_it()
    try:
        for target in (path, disk.folder / "other.json"):
            with pytest.raises(OSError, match=disk.reason):
                kc.RangeTestResult(rates / 2, result.losses).save(target)
    finally:
        disk.mend_it()
    assert path.read_bytes() == before
    assert names(disk.folder) == ["result.json"]
    kc.RangeTestResult(rates / 2, result.losses).save(path)
    np.testing.assert_array_equal(kc.RangeTestResult.load(path).learning_rates, rates / 2)


def test_a_range_test_result_written_to_a_device_or_through_a_link(tmp_path):
    result = kc.RangeTestResult([0.1, 0.2], [1.0, 2.0])
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    result.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert kc.RangeTestResult.load(tmp_path / "folder" / "file").losses.tolist() == [1.0, 2.0]
    result.save("/dev/null")
    assert pathlib.Path("/dev/null").is_char_device()


@pytest.mark.slow
def test_interrupts_in_mid_epoch_and_in_mid_save(tmp_path):
    """Ctrl-C: nothing half-written, the averages given back, and training goes on from there."""
    interrupt = AtSteps({})
    folder = tmp_path / "snapshots"

    def all_callbacks():
        return [
            interrupt,
            kc.callbacks.CyclicalMomentum(),
            kc.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e3),
            kc.callbacks.AdaptiveBounds("loss", patience=1, min_delta=1e3),
            kc.callbacks.CycleEarlyStopping("loss", patience=9),
            kc.callbacks.LearningRateMonitor(per_step=True),
            kc.callbacks.SnapshotEnsemble(folder / "{cycle}.keras"),
            keras.callbacks.BackupAndRestore(tmp_path / "backup", double_checkpoint=True),
        ]

    def train(model, functions=None):
        interrupt._functions = functions or {}
        return fit(model, *all_callbacks(), epochs=4)

    options = {"momentum": 0.9, "use_ema": True, "ema_momentum": 0.5}
    model = compiled(**options)
    whole = train(model)
    expected = model.get_weights()
    snapshots = {name: step_in(folder / name) for name in names(folder)}
    assert snapshots == {f"{cycle}.keras": 4 * cycle for cycle in range(1, 11)}

    def press_ctrl_c():
        signal.raise_signal(signal.SIGINT)

    model = compiled(**options)
    own_save = model.save
    before = []

    def save_and_press(path):
        before.append(model.optimizer.iterations.numpy())
        own_save(path)
        press_ctrl_c()

    def arm():
        vars(model)["save"] = save_and_press
        trained.extend(model.get_weights())

    trained = []
    with pytest.raises(KeyboardInterrupt):
        train(model, {13: press_ctrl_c})
    for path in folder.iterdir():
        path.unlink()
    # In the third epoch, when the snapshot of cycle 6 is written.
    with pytest.raises(KeyboardInterrupt):
        train(model, {24: arm})
    assert before == [24]
    assert names(folder) == ["3.keras", "4.keras", "5.keras"]
    for weight, value in zip(model.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(weight, value)
    del vars(model)["save"]
    # The same model, as one goes on in a notebook.
    rest = train(model)
    assert rest["loss"] == whole["loss"][-2:]
    assert rest["learning_rate"] == whole["learning_rate"][-2:]
    for weight, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert [step_in(folder / f"{cycle}.keras") for cycle in (3, 6, 10)] == [12, 24, 40]
