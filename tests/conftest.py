"""Quiet TensorFlow, and deterministic property tests."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis

hypothesis.settings.register_profile(
    "deterministic", derandomize=True, deadline=None, max_examples=60, database=None
)
hypothesis.settings.load_profile("deterministic")
