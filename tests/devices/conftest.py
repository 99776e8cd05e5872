"""Keeps the search for doctests off the programs that the tests start."""

collect_ignore = ["trainings.py", "run_trainings.py"]
