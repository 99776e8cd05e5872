"""Callbacks for `model.fit`."""

from keras_cyclic.callbacks.momentum import CyclicalMomentum, HyperparameterSchedule

__all__ = ["CyclicalMomentum", "HyperparameterSchedule"]
