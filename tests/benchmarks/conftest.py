"""Keeps the search for doctests off the benchmarks."""

collect_ignore_glob = ["*.py"]
