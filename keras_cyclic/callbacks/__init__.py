"""Callbacks for `model.fit`."""

from keras_cyclic.callbacks.adaptive_bounds import AdaptiveBounds
from keras_cyclic.callbacks.diagnostics import LossDiagnostics
from keras_cyclic.callbacks.early_stopping import CycleEarlyStopping
from keras_cyclic.callbacks.momentum import CyclicalMomentum, HyperparameterSchedule
from keras_cyclic.callbacks.monitor import LearningRateMonitor
from keras_cyclic.callbacks.plateau import ReduceLROnPlateau
from keras_cyclic.callbacks.range_test import LRRangeTest
from keras_cyclic.callbacks.snapshots import SnapshotEnsemble

__all__ = [
    "AdaptiveBounds",
    "CycleEarlyStopping",
    "CyclicalMomentum",
    "HyperparameterSchedule",
    "LRRangeTest",
    "LearningRateMonitor",
    "LossDiagnostics",
    "ReduceLROnPlateau",
    "SnapshotEnsemble",
]
