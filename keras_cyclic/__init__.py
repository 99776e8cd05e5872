"""Cyclical training for Keras 3."""

from keras_cyclic import callbacks, optimizers, profiles, schedules
from keras_cyclic.plotting import plot_schedule
from keras_cyclic.range_test import lr_range_test
from keras_cyclic.range_test_result import RangeTestResult

__version__ = "0.1.0"

__all__ = [
    "RangeTestResult",
    "callbacks",
    "lr_range_test",
    "optimizers",
    "plot_schedule",
    "profiles",
    "schedules",
]
