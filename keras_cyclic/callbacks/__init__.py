"""Callbacks for `model.fit`."""

from keras_cyclic.callbacks.range_test import LRRangeTest

__all__ = ["LRRangeTest"]
