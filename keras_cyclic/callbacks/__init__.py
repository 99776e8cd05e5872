"""Callbacks for `model.fit`."""

from keras_cyclic.callbacks.diagnostics import LossDiagnostics
from keras_cyclic.callbacks.momentum import CyclicalMomentum, HyperparameterSchedule
from keras_cyclic.callbacks.range_test import LRRangeTest

__all__ = ["CyclicalMomentum", "HyperparameterSchedule", "LRRangeTest", "LossDiagnostics"]
