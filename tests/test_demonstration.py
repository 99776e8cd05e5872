"""`python -m keras_cyclic`, short, in an empty folder."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.backends import tensorflow_only

ROOT = str(pathlib.Path(__file__).parents[1])


def run(folder, *arguments):
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "keras_cyclic", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@tensorflow_only("the range test records losses in its compiled step")
@pytest.mark.slow
def test_a_short_run(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    done = run(tmp_path, "--epochs", "1", "--seeds", "1", "--out", "here")
    assert done.returncode == 0, done.stderr
    output = done.stdout
    # Triangular2 with 67 steps up: step 90 is 23 of 67 steps down from 0.1 to 0.01.
    rate = 0.1 - 0.09 * 23 / 67
    assert f"Saved at step 90, where the learning rate is {rate:.6f}." in output
    assert f"Loaded at step 90, where the learning rate is {rate:.6f}." in output
    assert "It suggests 0.0" in output
    assert "the same weights, bit for bit" in output
    for name in ("constant", "Triangular2", "OneCycle"):
        (row,) = [line for line in output.splitlines() if line.startswith(f"{name}  ")]
        assert all(0 < float(cell) <= 1 for cell in row.split()[1:])
    picture = tmp_path / "here" / "demonstration.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_bad_arguments(tmp_path):
    done = run(tmp_path, "--epochs", "0")
    assert done.returncode == 2
    assert "--epochs and --seeds must be 1 or more" in done.stderr
    assert not list(tmp_path.iterdir())
