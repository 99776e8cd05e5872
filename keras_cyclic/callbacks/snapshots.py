"""The callback that saves the model at the end of each cycle."""

import itertools
import os
import string
import warnings
from typing import Any

import keras

from keras_cyclic import _arguments
from keras_cyclic._config import Configurable
from keras_cyclic._files import check_writable
from keras_cyclic._processes import in_first_process, of_first_process
from keras_cyclic._types import Integer, Logs
from keras_cyclic.callbacks._cycle_position import CyclePosition
from keras_cyclic.callbacks._snapshot_files import averaged_weights, remove, write, write_nowhere
from keras_cyclic.schedules.schedule import KerasSchedule, check_schedule


@keras.saving.register_keras_serializable(package="keras_cyclic")
class SnapshotEnsemble(Configurable, keras.callbacks.Callback):
    """Saves a snapshot of the model at the end of each cycle of the learning rate.

    ```
    snapshot n is the model after step t = start(n + 1)
    ```

    where cycles count from 1 and `start(n)` is the step that cycle `n` begins with: the snapshot
    has made all steps of its cycle, in the middle of an epoch too. `kc.load_ensemble` makes one
    model of the snapshots. Saving changes nothing in the training.

    With `steps_per_execution` over 1, weights can be had only between two executions. The
    snapshot is of the nearer one, of two equally near ones the earlier, where the rate is still
    low. `steps` tells where that was. Of several cycles that end in one execution, the last one
    is saved and the others are missing, with a warning.

    A cycle that `fit` does not finish is not saved. A further `fit`, or one that
    `BackupAndRestore` takes up, goes on in the cycle that the optimizer's step is in; a cycle end
    that it passes once more is saved once more, from the weights of this training. List this
    callback before `BackupAndRestore`, if that one saves every so many batches.

    A file appears whole or not at all: the model is written to a hidden folder
    `.<name of the file>.partial` beside it and renamed. What a crash leaves of that folder is
    removed when the cycle is saved again.

    A snapshot that cannot be written, because the disk is full or the folder has become
    read-only, does not end the training: a warning names the file and the reason, the snapshot
    is not in `filepaths`, and a file that was there before stays as it was. `keep` then counts
    whole snapshots only. Where nothing can be written before the first step, `fit` raises the
    error.

    Where several processes train one model on JAX, the first one writes and deletes the files,
    and the others wait for it; `filepaths` and `steps` are the same in all of them.

    With an optimizer that has `use_ema=True`, the snapshot's weights are the averages, as they
    are after a `fit` that ends there.

    Steps are counted as for the learning rate: with `gradient_accumulation_steps`, by batches.

    Args:
        filepath: Where to save: a string or `os.PathLike` on a local file system that contains
            `{cycle}`, the number of the cycle from 1, or a form of it as `{cycle:03d}`, and ends
            in `.keras`. Folders are made.
        schedule: The schedule whose cycles count. Defaults to the optimizer's own.
        keep: How many of the last snapshots to keep, or None for all. Earlier ones that
            `filepath` names for cycles of the training so far are deleted, those of the `fit`
            that this one continues among them; no other file is. Defaults to `None`.
        verbose: 0 for silence, 1 for a line at each snapshot. Defaults to `0`.

    Attributes:
        filepaths: The paths of the snapshots that exist of this training, oldest first, those
            of the `fit` that this one continues among them. All of them are whole files.
        steps: A dict from the number of a cycle to the number of steps that the optimizer had
            made in the snapshot which this object saved.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If `filepath` has no `{cycle}` or another field, does not end in `.keras` or
            is not local, or `keep` is not a positive whole number; at the start of `fit`, if the
            learning rate has no cycles.
        OSError: At the start of `fit`, if nothing can be written where the snapshots are to be.

    Example:

    >>> import os, tempfile, keras, numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> rate = kc.schedules.CosineAnnealingWarmRestarts(0.1, first_decay_steps=6)
    >>> model.compile(keras.optimizers.SGD(rate), "mse")
    >>> x, y = np.ones((8, 4)), np.ones((8, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     snapshots = kc.callbacks.SnapshotEnsemble(os.path.join(folder, "{cycle:02d}.keras"))
    ...     history = model.fit(x, y, batch_size=2, epochs=3, verbose=0, callbacks=[snapshots])
    ...     ensemble = kc.load_ensemble(snapshots.filepaths)
    >>> [os.path.basename(path) for path in snapshots.filepaths], snapshots.steps
    (['01.keras', '02.keras'], {1: 6, 2: 12})
    >>> ensemble.predict(x, verbose=0).shape
    (8, 1)

    References:

    - [Huang et al., 2017](https://arxiv.org/abs/1704.00109)
    - [Loshchilov and Hutter, 2017](https://arxiv.org/abs/1608.03983)
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        schedule: KerasSchedule | None = None,
        keep: Integer | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        self.filepath = _check_filepath(filepath)
        self.schedule = None if schedule is None else check_schedule("schedule", schedule)
        self.keep = keep
        if keep is not None:
            self.keep = _arguments.length("keep", keep, "a positive whole number of snapshots")
        self.verbose = verbose
        self.filepaths: list[str] = []
        self.steps: dict[int, int] = {}
        self._failed: set[int] = set()
        self._position: Any = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._position = CyclePosition(self.model, "SnapshotEnsemble", self.schedule)
        self._epoch_length = (self.params or {}).get("steps")
        # The step may change before the first epoch: BackupAndRestore loads it.
        self._cycle = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch
        self._position.begin_epoch()
        self._epoch_start = self._position.step()
        if self._cycle is None:
            self._cycle = self._position.cycles.index(self._epoch_start)
            in_first_process(self._check_folder, lambda: None)
            self._failed = set()
            self.filepaths = self._existing(self._cycle)
            self.steps = {n: step for n, step in self.steps.items() if step <= self._epoch_start}
            self._position.warn_if_none_ends(self.params, epoch)
            self._save_if_nearest(-1)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._save_if_nearest(batch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.model.steps_per_execution > 1:
            # `steps_per_epoch` counts short where it is no multiple of the execution's steps and
            # the data has more.
            made = self._position.step() - self._epoch_start
            self._epoch_length = max(self._epoch_length or 0, made)

    def _save_if_nearest(self, batch):
        """Saves the cycle that is next, if its end is here or nearer than after the next steps."""
        cycles = self._position.cycles
        start, end = cycles.start(self._cycle), cycles.start(self._cycle + 1)
        earliest = end and end - self.model.steps_per_execution // 2
        if not self._position.has_reached(earliest, batch):
            return
        step = self._position.step()
        if step >= end:
            current = cycles.index(step)
            # Not `current - 1`: cycles of a sampled schedule may be empty.
            ended = cycles.index(cycles.start(current) - 1)
            missed = [n + 1 for n in range(self._cycle, ended) if cycles.start(n + 1) > start]
            if missed:
                warnings.warn(
                    f"SnapshotEnsemble has no snapshot of {missed}, the numbers of cycles that "
                    f"ended in the same execution of {self.model.steps_per_execution} steps as "
                    f"cycle {ended + 1}. Compile with a lower steps_per_execution.",
                    stacklevel=2,
                )
            self._save(ended, step, cycles.start(current))
            self._cycle = current
        elif step > start and end - step <= step + self._steps_of_next_execution(batch) - end:
            self._save(self._cycle, step, end)
            self._cycle = cycles.index(end)

    def _steps_of_next_execution(self, batch):
        """How many steps come before weights can be had again; 0 if `fit` ends here."""
        at_once = self.model.steps_per_execution
        if self.model.stop_training:
            return 0
        if self._epoch_length is None:
            return at_once
        left = self._epoch_length - (batch + 1)
        if left <= 0:
            left = self._epoch_length if self._epoch + 1 < self.params["epochs"] else 0
        return min(at_once, left)

    def _check_folder(self):
        path = self._path(self._cycle)
        try:
            check_writable(path)
        except OSError as error:
            raise OSError(
                error.errno,
                f"SnapshotEnsemble cannot write {path!r}: {error.strerror}. Argument `filepath` "
                f"must be where files can be written. Received: filepath={self.filepath!r}",
            ) from error

    def _save(self, cycle, step, end):
        path = self._path(cycle)
        reason = self._write(path)
        if of_first_process([reason is not None])[0]:
            self._failed.add(cycle)
            self.steps.pop(cycle + 1, None)
            self.filepaths = self._existing(cycle + 1)
            warnings.warn(
                f"SnapshotEnsemble could not write {path!r} at step {step}: "
                f"{reason or 'the first process says why'}. The training goes on, and has no "
                f"snapshot of cycle {cycle + 1}.",
                stacklevel=2,
            )
            return
        self._failed.discard(cycle)
        self.steps[cycle + 1] = step
        self.filepaths = self._existing(cycle + 1)
        if self.keep is not None:
            too_old = self.filepaths[: -self.keep]
            in_first_process(lambda: list(map(remove, too_old)), lambda: None)
            self.filepaths = self.filepaths[-self.keep :]
        if self.verbose:
            where = "" if step == end else f", {abs(step - end)} from the cycle's end at step {end}"
            print(f"\nCycle {cycle + 1}: saved {path} at step {step}{where}")

    def _write(self, path):
        """Saves the model; gives why that failed, if the disk did, in the process that writes."""
        reasons = []
        with averaged_weights(self.model):
            in_first_process(
                lambda: reasons.append(write(self.model, path)), lambda: write_nowhere(self.model)
            )
        return reasons[0] if reasons else None

    def _path(self, cycle):
        return self.filepath.format(cycle=cycle + 1)

    def _existing(self, cycles):
        paths = [self._path(cycle) for cycle in range(cycles) if cycle not in self._failed]
        # Other machines may not see the files.
        exist = of_first_process(list(map(os.path.isfile, paths)))
        return list(itertools.compress(paths, exist))


def _check_filepath(filepath):
    allowed = (
        "a path on a local file system that contains {cycle}, as 'snapshots/{cycle:03d}.keras', "
        "and ends in .keras"
    )
    received = f"Received: filepath={_arguments.shown(filepath)}"
    if not isinstance(filepath, (str, os.PathLike)):
        raise TypeError(
            f"Argument `filepath` must be {allowed}. {received} of type {type(filepath).__name__}"
        )
    path = os.fspath(filepath)
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(path) if name is not None}
        is_valid = (
            fields == {"cycle"}
            and path.format(cycle=1) != path.format(cycle=2)
            and path.endswith(".keras")
            and "://" not in path
        )
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"Argument `filepath` must be {allowed}: {error}. {received}") from error
    if not is_valid:
        raise ValueError(f"Argument `filepath` must be {allowed}. {received}")
    return path
