"""Callbacks for `model.fit`."""

from keras_cyclic.callbacks.momentum import CyclicalMomentum, HyperparameterSchedule
from keras_cyclic.callbacks.range_test import LRRangeTest
from keras_cyclic.callbacks.snapshots import SnapshotEnsemble

__all__ = ["CyclicalMomentum", "HyperparameterSchedule", "LRRangeTest", "SnapshotEnsemble"]
