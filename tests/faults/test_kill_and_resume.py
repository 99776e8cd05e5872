"""A few of the kills of `python -m tests.faults.kill_and_resume`."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
KILLS, SEED = 3, 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts processes by forking")
def test_kill_9_at_random_moments():
    command = [sys.executable, "-m", "tests.faults.kill_and_resume", str(KILLS), str(SEED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = {}
    for line in done.stdout.splitlines():
        number, _, name = line.strip().partition(" ")
        counted[name] = number
    assert counted["kills"] == str(KILLS)
    assert counted["trainings"] == counted["trainings that ended equal"]
