"""Cyclical training for Keras 3."""

from keras_cyclic import callbacks, optimizers, profiles, schedules
from keras_cyclic.ensemble import load_ensemble
from keras_cyclic.plotting import plot_schedule
from keras_cyclic.range_test import lr_range_test
from keras_cyclic.range_test_result import RangeTestResult
from keras_cyclic.training import fit_one_cycle

__version__: str = "0.1.0"

__all__ = [
    "RangeTestResult",
    "callbacks",
    "fit_one_cycle",
    "load_ensemble",
    "lr_range_test",
    "optimizers",
    "plot_schedule",
    "profiles",
    "schedules",
]
