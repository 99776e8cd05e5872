"""Cyclical training for Keras 3."""

from keras_cyclic import profiles, schedules

__version__ = "0.1.0"

__all__ = ["profiles", "schedules"]
