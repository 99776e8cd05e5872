"""Kills a training at random moments, again and again, and compares what its resumed runs end with.

    python -m tests.faults.kill_and_resume [KILLS] [SEED]

Every process has imported Keras before its training begins: it is forked. Half of the moments are
drawn from its whole life, half from within its saves: so long after a save has begun as saves take.
"""

import collections
import json
import os
import pathlib
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile

import h5py
import numpy as np

from tests.faults import training

Moment = collections.namedtuple("Moment", "seconds save", defaults=[None])
Run = collections.namedtuple("Run", "status saves seconds")
Save = collections.namedtuple("Save", "name begin end")

# What BackupAndRestore(double_checkpoint=True) goes on from by itself.
GOES_ON = ("none", "whole", "torn weights, whole before")


def run(folder, moment=None, **arguments):
    """Trains in a process of its own, and kills it at a moment, if it has not ended by then."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _train_and_exit(folder, writing, arguments)
    os.close(writing)
    begin = time.monotonic()
    kill_at = begin + moment.seconds if moment and moment.save is None else None
    text = b""
    while True:
        left = None if kill_at is None else max(kill_at - time.monotonic(), 0)
        ready, _, _ = select.select([reading], [], [], left)
        if not ready:
            os.kill(child, signal.SIGKILL)
            kill_at = None
            continue
        received = os.read(reading, 1 << 16)
        if not received:
            break
        text += received
        if moment and moment.save is not None and kill_at is None:
            begun = [line for line in text.decode().splitlines() if not line.endswith(" done")]
            if len(begun) > moment.save:
                kill_at = time.monotonic() + moment.seconds
                moment = None
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Run(status, _saves(text.decode()), time.monotonic() - begin)


def _train_and_exit(folder, writing, arguments):
    def announce(name):
        os.write(writing, f"{time.monotonic()} {name}\n".encode())

    status = 1
    try:
        with open(folder / "output.txt", "a") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        training.train(folder, announce, **arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _saves(text):
    saves = []
    for line in text.splitlines():
        moment, _, name = line.partition(" ")
        if name.endswith(" done"):
            saves[-1] = saves[-1]._replace(end=float(moment))
        else:
            saves.append(Save(name, float(moment), None))
    return saves


def arrays_of(file):
    """All arrays in an open HDF5 file, by name."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    h5py.File(file, "r").visititems(visit)
    return found


def snapshot_of(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        json.loads(archive.read("config.json"))
        with archive.open("model.weights.h5") as file:
            return arrays_of(file)


def state_of_backup(backup):
    """What a kill has left in the folder of BackupAndRestore."""
    weights, metadata = backup / "latest.weights.h5", backup / "training_metadata.json"
    if not (weights.exists() or metadata.exists()):
        return "none"
    if not weights.exists():
        return "half removed"
    previous = backup / "latest.weights.h5.bkp", backup / "training_metadata.json.bkp"
    before = "whole before" if all(path.exists() for path in previous) else "nothing before"
    try:
        step = int(arrays_of(weights)["optimizer/vars/0"])
    except (OSError, KeyError):
        return f"torn weights, {before}"
    if not metadata.exists():
        return f"no epoch, {before}"
    try:
        epoch = json.loads(metadata.read_text())["epoch"]
    except ValueError:
        return f"torn epoch, {before}"
    return "whole" if step == epoch * training.STEPS_PER_EPOCH else f"epoch before, {before}"


def mend_backup(backup):
    """What one does by hand about a backup that BackupAndRestore does not go on from."""
    if state_of_backup(backup).endswith("whole before"):
        for path in backup.glob("*.bkp"):
            shutil.copy(path, path.with_suffix(""))
    else:
        shutil.rmtree(backup)


def same(arrays, others):
    return arrays.keys() == others.keys() and all(
        np.array_equal(arrays[name], others[name]) for name in arrays
    )


class Uninterrupted:
    """The training that nobody kills: what all others must end with."""

    def __init__(self, folder):
        keep_all, again = folder / "keep all", folder / "again"
        keep_all.mkdir()
        again.mkdir()
        runs = [run(keep_all, keep=100), run(again)]
        for each, where in zip(runs, (keep_all, again)):
            assert each.status == 0, (where / "output.txt").read_text()
        self.epochs = training.read_epochs(keep_all)
        assert self.epochs == training.read_epochs(again), "the training is not deterministic"
        self.rows, self.header = training.read_log(keep_all)
        self.snapshots = {
            path.name: snapshot_of(path) for path in (keep_all / "snapshots").iterdir()
        }
        self.result = json.loads((again / "result.json").read_text())
        self.seconds = runs[1].seconds
        self.saves = runs[1].saves
        rates = [rate for line in self.epochs for rate in line["steps"]["learning_rate"]]
        assert len(self.epochs) == training.STOPPED_AFTER
        assert len(rates) == training.STOPPED_AFTER * training.STEPS_PER_EPOCH
        assert max(rates[-12:]) < 0.7 * max(rates[:12]), "no callback has reduced the rate"

    def longest(self, name):
        return max(save.end - save.begin for save in self.saves if save.name == name)

    def draw(self, random):
        """A moment to kill at: of the whole life, or of a save."""
        if random.random() < 0.5:
            return Moment(random.uniform(0, self.seconds))
        number = random.randrange(len(self.saves))
        return Moment(random.uniform(0, 1.2 * self.longest(self.saves[number].name)), number)

    def check_files(self, folder):
        """That each file which counts as a snapshot is a whole one, and the right one."""
        for path in (folder / "snapshots").glob("*.keras"):
            assert same(snapshot_of(path), self.snapshots[path.name]), path

    def check_end(self, folder, went_on_after_the_stop):
        """That nothing is lost or different.

        Returns:
            How many epochs were trained more than once, as the lines and as the log have it.
        """
        lines, (rows, header) = training.read_epochs(folder), training.read_log(folder)
        result = json.loads((folder / "result.json").read_text())
        assert header == self.header
        assert result["weights"] == self.result["weights"]
        if went_on_after_the_stop:
            count = training.STOPPED_AFTER
            lines = [line for line in lines if line["epoch"] < count]
            rows = [row for row in rows if int(row[0]) < count]
        else:
            assert result["snapshots"] == self.result["snapshots"]
            left = sorted(path.name for path in (folder / "snapshots").iterdir())
            assert left == self.result["snapshots"]
            self.check_files(folder)
        for line in lines:
            assert line == self.epochs[line["epoch"]]
        for row in rows:
            assert row == self.rows[int(row[0])]
        assert {line["epoch"] for line in lines} == set(range(len(self.epochs)))
        assert {int(row[0]) for row in rows} == set(range(len(self.rows)))
        assert not (folder / "backup").exists()
        return len(lines) - len(self.epochs), len(rows) - len(self.rows)


def kill_and_resume(kills, seed, say=print):
    """Kills trainings so many times, and compares the end of each.

    Returns:
        A `Counter` of what happened.
    """
    drawn = random.Random(seed)
    counted = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        whole = Uninterrupted(root)
        longest = {name: whole.longest(name) for name in sorted({s.name for s in whole.saves})}
        say(f"uninterrupted: {whole.seconds:.1f} s, {len(whole.saves)} saves, of them the longest:")
        say("  " + ", ".join(f"{name} {1e3 * time:.0f} ms" for name, time in longest.items()))
        while counted["kills"] < kills:
            counted["trainings"] += 1
            folder = root / str(counted["trainings"])
            folder.mkdir()
            went_on, is_killed = False, True
            while True:
                done = run(folder, whole.draw(drawn) if is_killed else None)
                whole.check_files(folder)
                if done.status == 0:
                    break
                assert done.status == -signal.SIGKILL, (folder / "output.txt").read_text()
                counted["kills"] += 1
                backup = folder / "backup"
                state = state_of_backup(backup)
                inside = done.saves[-1].name if done.saves and not done.saves[-1].end else None
                counted["in a save"] += inside is not None
                counted[f"in a save: {inside}"] += inside is not None
                counted[f"backup: {state}"] += 1
                made = training.read_epochs(folder)
                epoch = made[-1]["epoch"] + 1 if made else 0
                where = f"in a {inside}" if inside else "in no save"
                say(
                    f"kill {counted['kills']:2}, training {counted['trainings']:2}: "
                    f"{done.seconds:5.2f} s, after epoch {epoch:2}, {where}; backup: {state}"
                )
                if state not in GOES_ON:
                    counted["mended by hand"] += 1
                    mend_backup(backup)
                elif state == "whole":
                    text = (backup / "training_metadata.json").read_text()
                    if json.loads(text)["epoch"] >= training.STOPPED_AFTER:
                        went_on = True
                        counted["after the stop"] += 1
                is_killed = counted["kills"] < kills and drawn.random() < 0.6
            lines, rows = whole.check_end(folder, went_on)
            counted["trainings that ended equal"] += 1
            counted["repeated epochs"] += lines
            counted["repeated rows"] += rows
            shutil.rmtree(folder)
    return counted


def main(kills=50, seed=0):
    begin = time.monotonic()
    counted = kill_and_resume(int(kills), int(seed))
    for name, count in sorted((name, count) for name, count in counted.items() if count):
        print(f"{count:4} {name}")
    print(f"{time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(*sys.argv[1:])
