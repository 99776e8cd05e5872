"""Cyclical training for Keras 3."""

from keras_cyclic import callbacks, profiles, schedules

__version__ = "0.1.0"

__all__ = ["callbacks", "profiles", "schedules"]
