"""Keeps the search for doctests off the scripts that record what PyTorch does."""

collect_ignore_glob = ["record_*.py"]
