"""`python -m keras_cyclic`, short, in an empty folder."""

import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from keras_cyclic import _demonstration_page
from keras_cyclic._demonstration import ONE_CYCLE, Run

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


@pytest.mark.slow
def test_a_short_run(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    done = run(tmp_path, "--quick", "--epochs", "1", "--out", "here")
    assert done.returncode == 0, done.stderr
    output = done.stdout
    # 4 epochs of 29 steps, the peak at step 0.3 * 116 - 1, the last rate at step 115.
    way = (58 - 33.8) / (115 - 33.8)
    rate = 4e-7 + (0.1 - 4e-7) * (1 + math.cos(math.pi * way)) / 2
    assert f"Saved at step 58, learning rate {rate:.6f}" in output
    assert f"A new process loads it at step 58, learning rate {rate:.6f}" in output
    assert "It trains on to step 116, learning rate 0.000000." in output
    assert "the same weights, bit for bit" in output
    assert "Training: 1 epochs of 29 steps" in output
    for name in ("constant", "step decay", "cosine", ONE_CYCLE):
        (row,) = [line for line in output.splitlines() if line.startswith(f"{name}  ")]
        _, accuracy, *_ = row.removeprefix(name).split()
        assert 10 < float(accuracy) <= 100
        assert output.count(f"seed 0, {name}: ") == 1
    picture = tmp_path / "here" / "demonstration.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def runs(**accuracies):
    return {
        name.replace("ours", ONE_CYCLE): [
            Run({"val_accuracy": [0.0, each], "val_loss": [1.0]}, np.ones(2), None)
            for each in of_name
        ]
        for name, of_name in accuracies.items()
    }


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ({"cosine": [0.97, 0.98], "ours": [0.96, 0.97]}, "does not win here: 1.00 points behind"),
        ({"cosine": [0.97, 0.98], "ours": [0.98, 0.99]}, "wins here: 1.00 points ahead of cosine"),
        ({"cosine": [0.97, 0.98], "ours": [0.98, 0.99]}, "more than the noise of 2 seeds"),
        ({"cosine": [0.97, 0.99], "ours": [0.98, 0.97]}, "within the noise of the seeds"),
        ({"cosine": [0.97], "ours": [0.98]}, "one seed tells little"),
        ({"cosine": [0.5], "ours": [0.5]}, "ties with cosine"),
        ({"worse": [0.1], "better": [0.7], "ours": [0.5]}, "20.00 points behind better"),
    ],
)
def test_the_verdict_is_what_the_accuracies_say(accuracies, said):
    assert said in _demonstration_page.verdict(runs(**accuracies))


@pytest.mark.slow
def test_the_command_line(tmp_path):
    done = run(tmp_path, "--epochs", "0")
    assert done.returncode == 2
    assert "--epochs and --seeds must be 1 or more" in done.stderr
    (tmp_path / "file").touch()
    done = run(tmp_path, "--out", "file")
    assert done.returncode == 2
    assert "--out must be a folder" in done.stderr
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert all(f"--{name}" in done.stdout for name in ("epochs", "seeds", "out", "quick"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
