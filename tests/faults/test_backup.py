"""What `BackupAndRestore` goes on from, at each moment of its saves, and what one mends by hand.

docs/resuming.md says so to users. Where Keras loses something the test is a strict `xfail`, so that
a Keras which does better is noticed.
"""

import functools
import inspect
import json
import shutil

import keras
import numpy as np
import pytest

from tests.callbacks import resumed_training as training
from tests.callbacks.resumed_training import build, fit, reactions

DONE, RATE = 5, "cyclical"
NAMES = ("plateau", "bounds")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "double_checkpoint" not in inspect.signature(keras.callbacks.BackupAndRestore).parameters,
        reason="this Keras has no double_checkpoint",
    ),
]


@functools.cache
def uninterrupted():
    model = build(RATE)
    return fit(model, reactions(RATE, NAMES)), model.get_weights(), int(model.optimizer.iterations)


class Interruption(Exception):
    pass


class StopAt(keras.callbacks.Callback):
    """Ends the training at the beginning of a batch."""

    def __init__(self, epoch, batch=0):
        super().__init__()
        self._place = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self._epoch, batch) == self._place:
            raise Interruption


def train(folder, *callbacks, **arguments):
    arguments = {"double_checkpoint": True, **arguments}
    model = build(RATE)
    backup = keras.callbacks.BackupAndRestore(folder, **arguments)
    return model, fit(model, [*reactions(RATE, NAMES), backup, *callbacks])


@pytest.fixture(scope="module")
def backup(tmp_path_factory):
    """The folder as it is between two saves."""
    folder = tmp_path_factory.mktemp("backup")
    with pytest.raises(Interruption):
        train(folder, StopAt(DONE))
    assert len(list(folder.iterdir())) == 4
    return folder


def torn_weights(folder):
    set_epoch(folder, DONE - 1)
    weights = folder / "latest.weights.h5"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def epoch_not_yet_written(folder):
    set_epoch(folder, DONE - 1)


def epoch_half_written(folder):
    (folder / "training_metadata.json").write_text("")


def set_epoch(folder, epoch):
    (folder / "training_metadata.json").write_text(json.dumps({"epoch": epoch, "batch": 0}))


def assert_ends_equal(model, history):
    whole, weights, iterations = uninterrupted()
    assert history == {name: values[-len(history["loss"]) :] for name, values in whole.items()}
    assert int(model.optimizer.iterations) == iterations
    for weight, value in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    "kill",
    [
        torn_weights,
        pytest.param(
            epoch_not_yet_written, marks=pytest.mark.xfail(strict=True, raises=AssertionError)
        ),
        pytest.param(
            epoch_half_written, marks=pytest.mark.xfail(strict=True, raises=json.JSONDecodeError)
        ),
    ],
)
def test_killed_while_saving(kill, backup, tmp_path):
    shutil.copytree(backup, tmp_path, dirs_exist_ok=True)
    kill(tmp_path)
    assert_ends_equal(*train(tmp_path))


def test_the_earlier_backup_mends_what_keras_does_not(backup, tmp_path):
    shutil.copytree(backup, tmp_path, dirs_exist_ok=True)
    epoch_half_written(tmp_path)
    for path in tmp_path.glob("*.bkp"):
        shutil.copy(path, path.with_suffix(""))
    model, history = train(tmp_path)
    assert len(history["loss"]) == len(uninterrupted()[0]["loss"]) - (DONE - 1)
    assert_ends_equal(model, history)


@pytest.mark.xfail(strict=True, raises=OSError)
def test_killed_in_the_first_save(backup, tmp_path):
    (tmp_path / "latest.weights.h5").write_bytes(b"half")
    train(tmp_path)


@pytest.mark.xfail(strict=True, raises=AssertionError)
def test_killed_while_the_backup_of_a_finished_training_is_removed(backup, tmp_path):
    set_epoch(tmp_path, training.EPOCHS)
    model = train(tmp_path)[0]
    assert int(model.optimizer.iterations) > 0


@pytest.mark.xfail(strict=True, raises=AssertionError)
def test_a_backup_in_the_middle_of_an_epoch_repeats_its_steps(tmp_path):
    with pytest.raises(Interruption):
        train(tmp_path, StopAt(2, 5), save_freq=3)
    assert_ends_equal(*train(tmp_path))
