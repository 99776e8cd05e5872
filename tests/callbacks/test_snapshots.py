"""Snapshots: where they are taken, what is in them, and what a crash leaves."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import bring_up_to_date, steps_at_once

S = kc.schedules
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5], [3.0]] + 0.5).astype("float32")


def compiled(rate, optimizer=keras.optimizers.SGD, steps_per_execution=1, **kwargs):
    keras.utils.set_random_seed(1)
    dropout = keras.layers.Dropout(0.2)
    model = keras.Sequential([keras.Input((4,)), dropout, keras.layers.Dense(1)])
    model.compile(optimizer(rate, **kwargs), "mse", **steps_at_once(steps_per_execution))
    return model


def fit(model, *callbacks, epochs=3, batch_size=4, x=X, y=Y, **kwargs):
    """Ten steps an epoch, unless told otherwise."""
    return model.fit(
        x, y, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=list(callbacks), **kwargs
    )


class Weights(keras.callbacks.Callback):
    """The weights after each execution, by the optimizer's step."""

    def __init__(self):
        super().__init__()
        self.at = {}
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        bring_up_to_date(self.model)
        self.at[int(self.model.optimizer.iterations)] = self.model.get_weights()
        self.losses.append(logs["loss"])


def assert_same(weights, others):
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, other)


def load(path):
    model = keras.saving.load_model(path)
    return model.get_weights(), int(model.optimizer.iterations)


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).rglob("*"))


def test_each_cycle_at_its_last_step_and_nothing_else_changes(tmp_path, capsys):
    rate = S.CosineAnnealingWarmRestarts(0.05, 4, t_mul=2)
    plain, watched = Weights(), Weights()
    fit(compiled(rate, momentum=0.9), plain)
    path = tmp_path / "new" / "cycle-{cycle:03d}.keras"
    snapshots = kc.callbacks.SnapshotEnsemble(path, verbose=1)
    model = compiled(rate, momentum=0.9)
    # Ends at steps 4, 12, 28: two in mid-epoch; the last cycle stays unfinished.
    fit(model, snapshots, watched)
    assert snapshots.steps == {1: 4, 2: 12, 3: 28}
    expected = [str(path).format(cycle=cycle) for cycle in (1, 2, 3)]
    assert snapshots.filepaths == expected
    assert names(path.parent) == ["cycle-001.keras", "cycle-002.keras", "cycle-003.keras"]
    printed = capsys.readouterr().out
    for file, step in zip(expected, (4, 12, 28)):
        weights, iterations = load(file)
        assert iterations == step
        assert_same(weights, plain.at[step])
        assert f"saved {file} at step {step}\n" in printed
    assert plain.losses == watched.losses
    for step in plain.at:
        assert_same(plain.at[step], watched.at[step])
    assert "make_train_function" not in vars(model)


@pytest.mark.parametrize(
    ("rate", "at_once", "epochs", "steps"),
    [
        # Executions end at 4, 8, 10, 14, 18, 20, 24, 28, 30: an epoch's last one is short.
        (S.Triangular(0.0, 0.01, 3, 2), 4, 3, {1: 4, 2: 10, 3: 14, 4: 20, 5: 24, 6: 30}),
        # Cycle ends at 3, 6, ..., 30 are closer than executions.
        (S.CosineAnnealingWarmRestarts(0.01, 3), 4, 1, {1: 4, 2: 8, 3: 10}),
        # The end at 11 is nearest to where the last `fit` step is; it is not finished there.
        (S.OneCycle(0.01, 11), 4, 1, {}),
        (S.OneCycle(0.01, 11), 4, 2, {1: 10}),
        (S.OneCycle(0.01, 6), 4, 1, {1: 4}),
        (S.OneCycle(0.01, 10), 1, 1, {1: 10}),
        (S.OneCycle(0.01, 9), 3, 2, {1: 9}),
    ],
    ids=[
        "early and late",
        "short cycles",
        "unfinished",
        "epoch's end",
        "tie",
        "last step",
        "one cycle",
    ],
)
def test_nearest_execution(rate, at_once, epochs, steps, tmp_path):
    weights = Weights()
    model = compiled(rate, steps_per_execution=at_once)
    snapshots = kc.callbacks.SnapshotEnsemble(tmp_path / "{cycle}.keras")
    fit(model, weights, snapshots, epochs=epochs)
    assert snapshots.steps == steps
    assert names(tmp_path) == [f"{cycle}.keras" for cycle in sorted(steps)]
    for path, step in zip(snapshots.filepaths, steps.values()):
        assert_same(load(path)[0], weights.at[step])
    if not steps:
        # The step where the last `fit` ended is the nearest one to the end of its cycle.
        fit(model, snapshots, epochs=1)
        assert snapshots.steps == {1: 10}


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True


@pytest.mark.parametrize(("callbacks", "steps"), [([], {1: 4}), ([Stop()], {})])
def test_batches_that_nobody_has_counted_and_a_stop_among_them(callbacks, steps, tmp_path):
    model = compiled(S.OneCycle(0.01, 6), steps_per_execution=4)
    snapshots = kc.callbacks.SnapshotEnsemble(tmp_path / "{cycle}.keras")
    batches = ((X[i : i + 4], Y[i : i + 4]) for i in range(0, 40, 4))
    model.fit(batches, verbose=0, callbacks=[*callbacks, snapshots])
    assert snapshots.steps == steps


def test_cycles_that_end_in_one_execution_are_told(tmp_path):
    model = compiled(S.CosineAnnealingWarmRestarts(0.01, 2), steps_per_execution=10)
    snapshots = kc.callbacks.SnapshotEnsemble(tmp_path / "{cycle}.keras")
    with pytest.warns(UserWarning, match=r"no snapshot of \[1, 2, 3, 4\]"):
        fit(model, snapshots, epochs=1)
    assert snapshots.steps == {5: 10}


def test_own_schedule_and_empty_cycles(tmp_path):
    # Sampled every 4 steps, cycles of 3 begin at 0, 4, 8, 12, 12, 16, ...: the fourth is empty.
    schedule = S.Sampled(S.CosineAnnealingWarmRestarts(0.1, 3), 4)
    snapshots = kc.callbacks.SnapshotEnsemble(tmp_path / "{cycle}.keras", schedule=schedule)
    fit(compiled(0.01), snapshots, epochs=2)
    assert snapshots.steps == {1: 4, 2: 8, 3: 12, 5: 16, 6: 20}
    copy = kc.callbacks.SnapshotEnsemble.from_config(snapshots.get_config())
    assert copy.filepath == str(tmp_path / "{cycle}.keras")
    assert copy.schedule.every == 4


def test_averaged_weights(tmp_path):
    """As at the end of a `fit` that ends there."""
    rate = S.CosineAnnealingWarmRestarts(0.05, 20)
    options = {"use_ema": True, "ema_momentum": 0.9}
    short = compiled(rate, **options)
    fit(short, epochs=2)
    plain, watched = Weights(), Weights()
    fit(compiled(rate, **options), plain, epochs=4)
    snapshots = kc.callbacks.SnapshotEnsemble(tmp_path / "{cycle}.keras")
    fit(compiled(rate, **options), snapshots, watched, epochs=4)
    assert_same(load(snapshots.filepaths[0])[0], short.get_weights())
    assert not np.array_equal(short.get_weights()[0], plain.at[20][0])
    for step in plain.at:
        assert_same(plain.at[step], watched.at[step])


class StopAt(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise KeyboardInterrupt


def test_keep_after_an_interrupted_run(tmp_path):
    rate = S.CosineAnnealingWarmRestarts(0.05, 6)
    plain = Weights()
    fit(compiled(rate), plain, epochs=4, shuffle=False)
    folder = tmp_path / "snapshots"
    others = ["6.keras", "cycle-.keras", "cycle-1.keras.bak", "cycle-01.keras", "cycle-9.keras"]
    folder.mkdir()
    for name in others:
        (folder / name).write_text("another's")
    (folder / "cycle-1.keras").write_text("of an older run")

    def train(*callbacks):
        snapshots = kc.callbacks.SnapshotEnsemble(folder / "cycle-{cycle}.keras", keep=2)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        with contextlib.suppress(KeyboardInterrupt):
            fit(compiled(rate), snapshots, backup, *callbacks, epochs=4, shuffle=False)
        return snapshots

    first = train(StopAt(19))
    assert first.steps == {1: 6, 2: 12, 3: 18}
    kept = [str(folder / f"cycle-{cycle}.keras") for cycle in (2, 3)]
    assert first.filepaths == kept
    assert_same(load(kept[1])[0], plain.at[18])
    # Goes on at step 10, in cycle 2: those of cycles 2 and 3 are written again.
    second = train(StopAt(14))
    assert second.steps == {2: 12}
    assert second.filepaths == kept[:1]
    third = train()
    assert third.steps == {2: 12, 3: 18, 4: 24, 5: 30, 6: 36}
    assert third.filepaths == [str(folder / f"cycle-{cycle}.keras") for cycle in (5, 6)]
    assert names(folder) == sorted([*others, "cycle-5.keras", "cycle-6.keras"])
    assert [load(path)[1] for path in third.filepaths] == [30, 36]


KILLED = """
    import os, signal, sys, zipfile
    import keras, numpy as np
    import keras_cyclic as kc

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    rate = kc.schedules.CosineAnnealingWarmRestarts(0.05, 4)
    model.compile(keras.optimizers.SGD(rate), "mse")
    written = 0
    original = zipfile.ZipFile.writestr

    # The last thing that Keras writes into a `.keras` file are its weights.
    def writestr(self, *args, **kwargs):
        global written
        written += 1
        if written == int(sys.argv[2]):
            self.fp.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, *args, **kwargs)

    zipfile.ZipFile.writestr = writestr
    path = os.path.join(sys.argv[1], "{cycle}.keras")
    snapshots = kc.callbacks.SnapshotEnsemble(path)
    x, y = np.ones((40, 4)), np.ones((40, 1))
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[snapshots])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_while_writing(tmp_path):
    folder = tmp_path / "snapshots"

    def run(killed_in):
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), str(killed_in)],
            capture_output=True,
            text=True,
            timeout=300,
        )

    run_that_is_killed = run(2)
    assert run_that_is_killed.returncode == -signal.SIGKILL, run_that_is_killed.stderr
    assert sorted(path.name for path in folder.glob("*.keras")) == ["1.keras"]
    assert load(folder / "1.keras")[1] == 4
    # Killed in the middle of writing the second one: part of it is there, in its hidden folder.
    assert (folder / ".2.keras.partial" / "2.keras").stat().st_size > 0
    assert run(0).returncode == 0
    assert names(folder) == ["1.keras", "2.keras"]
    assert load(folder / "2.keras")[1] == 8


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"filepath": 3}, TypeError, r"filepath=3 of type int"),
        ({"filepath": "a.keras"}, ValueError, r"contains \{cycle\}"),
        ({"filepath": "{{cycle}}.keras"}, ValueError, r"contains \{cycle\}"),
        ({"filepath": "{cycle}-{epoch}.keras"}, ValueError, r"\{epoch\}"),
        ({"filepath": "{cycle:zz}.keras"}, ValueError, r"\{cycle:zz\}"),
        ({"filepath": "{cycle}.h5"}, ValueError, r"ends in \.keras"),
        ({"filepath": "gs://a/{cycle}.keras"}, ValueError, "local file system"),
        ({"filepath": "{cycle}.keras", "keep": 0}, ValueError, r"`keep`.*keep=0"),
        ({"filepath": "{cycle}.keras", "keep": "2"}, TypeError, r"`keep`.*of type str"),
        ({"filepath": "{cycle}.keras", "schedule": 0.1}, TypeError, "`schedule`"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        kc.callbacks.SnapshotEnsemble(**arguments)


@pytest.mark.parametrize("rate", [0.1, S.LinearDecay(0.1, 10)], ids=str)
def test_rates_without_cycles_are_refused_before_the_first_step(rate, tmp_path):
    model = compiled(rate)
    with pytest.raises(ValueError, match="SnapshotEnsemble waits for the ends of cycles"):
        fit(model, kc.callbacks.SnapshotEnsemble(tmp_path / "{cycle}.keras"))
    assert int(model.optimizer.iterations) == 0
    assert names(tmp_path) == []
