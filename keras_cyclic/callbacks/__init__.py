"""Callbacks for `model.fit`."""

from keras_cyclic.callbacks.momentum import CyclicalMomentum, HyperparameterSchedule
from keras_cyclic.callbacks.monitor import LearningRateMonitor
from keras_cyclic.callbacks.range_test import LRRangeTest

__all__ = ["CyclicalMomentum", "HyperparameterSchedule", "LRRangeTest", "LearningRateMonitor"]
