"""The base of the callbacks that wait for the end of a cycle."""

from typing import Any

from keras_cyclic._types import Logs
from keras_cyclic.callbacks._cycle_position import CyclePosition
from keras_cyclic.callbacks._monitored import MonitoredCallback


class CycleEndCallback(MonitoredCallback):
    """Base class of the monitoring callbacks that know the cycles of the learning rate.

    `cycle` is the first cycle that has not been judged yet, counted from 0.
    """

    remembers = (*MonitoredCallback.remembers, "cycle")
    # Whether the cycles must be known.
    waits_for_cycles = True

    def reset(self) -> None:
        super().reset()
        self.cycle: Any = None

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self.position: Any = None
        if self.waits_for_cycles:
            self.position = CyclePosition(self.model, type(self).__name__)
            self._is_first_epoch = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if self.position is None:
            return
        self.position.begin_epoch()
        # Not earlier: a checkpoint may be loaded at the start of `fit`, after this callback's.
        if self.cycle is None:
            self.cycle = self.position.cycle()
        if self._is_first_epoch:
            self._is_first_epoch = False
            self.position.warn_if_none_ends(self.params, epoch)
