"""Cyclical training for Keras 3."""

from keras_cyclic import callbacks, profiles, schedules
from keras_cyclic.ensemble import load_ensemble
from keras_cyclic.range_test import lr_range_test
from keras_cyclic.range_test_result import RangeTestResult

__version__ = "0.1.0"

__all__ = [
    "RangeTestResult",
    "callbacks",
    "load_ensemble",
    "lr_range_test",
    "profiles",
    "schedules",
]
