"""Quiet TensorFlow, deterministic property tests, and what only TensorFlow has."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import keras
import pytest

hypothesis.settings.register_profile(
    "deterministic", derandomize=True, deadline=None, max_examples=60, database=None
)
hypothesis.settings.load_profile("deterministic")


def pytest_collection_modifyitems(items):
    if keras.backend.backend() == "tensorflow":
        return
    for item in items:
        marker = item.get_closest_marker("tensorflow_only")
        if marker is not None:
            item.add_marker(pytest.mark.skip(reason=f"TensorFlow only: {marker.args[0]}"))
