"""Starts `tests.devices.run_trainings` in processes, and ends them all whatever happens."""

import json
import math
import os
import pathlib
import socket
import subprocess
import sys
import time

from tests.devices.run_trainings import LONGEST_SECONDS


def run_trainings(folder, backend, *arguments, **environment):
    """Runs processes side by side until all are done.

    Args:
        folder: Where they write.
        backend: The backend of Keras.
        *arguments: A list of command-line arguments for each process.
        **environment: Further environment variables.

    Returns:
        A dict of what they wrote, by the name of the file.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **environment,
    }
    # Not by way of pipes, which fill up.
    logs = [folder / f"log_{number}.txt" for number in range(len(arguments))]
    started = []
    try:
        for each, log in zip(arguments, logs):
            command = [sys.executable, "-m", "tests.devices.run_trainings", each[0], str(folder)]
            with log.open("w") as output:
                started.append(
                    subprocess.Popen(
                        [*command, *each[1:]],
                        cwd=pathlib.Path(__file__).parents[2],
                        env=environment,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
        _wait(started)
        texts = "\n".join(log.read_text()[-2000:] for log in logs)
        assert [process.returncode for process in started] == [0] * len(started), texts
    finally:
        for process in started:
            process.kill()
            process.wait()
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def _wait(processes):
    """Waits until all have ended well, one has failed, or it has taken too long."""
    deadline = time.monotonic() + LONGEST_SECONDS + 10
    while time.monotonic() < deadline:
        codes = [process.poll() for process in processes]
        if any(codes) or None not in codes:
            return
        time.sleep(0.1)


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def assert_same(actual, expected, where=""):
    """Asserts that two outcomes are the same, their floats to 1e-5."""
    if isinstance(expected, dict):
        assert list(actual) == list(expected), where
        for key in expected:
            assert_same(actual[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for index, (one, other) in enumerate(zip(actual, expected)):
            assert_same(one, other, f"{where}[{index}]")
    elif isinstance(expected, float):
        message = f"{where}: {actual} is not {expected}"
        assert math.isclose(actual, expected, rel_tol=1e-5, abs_tol=1e-5), message
    else:
        assert actual == expected, f"{where}: {actual} is not {expected}"


def assert_callbacks_acted(outcome):
    """Asserts that the trainings are such that each callback had something to decide."""
    momentum = outcome["one_cycle"]["rates"]["momentum"]
    assert min(momentum) < 0.86 < 0.94 < max(momentum)
    assert outcome["one_cycle"]["findings"]
    reactions = outcome["reactions"]
    assert (reactions["stopped_epoch"], reactions["best_epoch"]) == (4, 2)
    assert reactions["snapshots"] == reactions["files"] == ["4.keras", "5.keras"]
    assert reactions["steps"] == {str(cycle): 4 * cycle for cycle in range(1, 6)}
    for bounds in (reactions["bounds"], outcome["resumed"]["bounds"]):
        assert all(now < before for now, before in zip(bounds, (1.0, 0.01, 0.05), strict=True))
