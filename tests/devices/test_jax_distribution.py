"""Training on JAX under `keras.distribution.DataParallel` is training on one device."""

import importlib.util
import pathlib
import re

import keras
import pytest

from tests.devices.processes import (
    assert_callbacks_acted,
    assert_same,
    free_port,
    run_trainings,
)
from tests.devices.run_trainings import SCRIPT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(each) is None for each in ("jax", "tensorflow")),
        reason="needs jax, and tensorflow for tf.data",
    ),
    pytest.mark.skipif(
        not hasattr(keras.optimizers, "MultiOptimizer"), reason="needs Keras 3.15 or newer"
    ),
]


@pytest.fixture(scope="module")
def virtual(tmp_path_factory):
    return run_trainings(
        tmp_path_factory.mktemp("virtual"),
        "jax",
        ["virtual"],
        JAX_PLATFORMS="cpu",
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def processes(folder):
    address = f"127.0.0.1:{free_port()}"
    return run_trainings(
        folder,
        "jax",
        *[["processes", address, "2", number] for number in "01"],
        JAX_PLATFORMS="cpu",
        JAX_CPU_COLLECTIVES_IMPLEMENTATION="gloo",
    )


def test_four_devices_train_and_decide_as_one(virtual):
    assert_callbacks_acted(virtual["one"])
    assert_same(virtual["several"], virtual["one"])


@pytest.mark.parametrize("how", ["several_to_one", "one_to_several"])
def test_goes_on_from_a_file_on_another_number_of_devices(virtual, how):
    assert_same(virtual["saved"][how], virtual["saved"]["one_to_one"])


def test_two_processes_train_and_decide_as_one_device(virtual, processes):
    for number in "01":
        outcome = dict(processes[f"process_{number}"])
        del outcome["script"]
        assert_same(outcome, virtual["one"])


def test_one_of_two_processes_writes_the_snapshots(folder, processes):
    """In the script, whose processes run in folders of their own, as on two machines."""
    first, second = (processes[f"process_{number}"]["script"] for number in "01")
    assert first["filepaths"] == ["snapshots/1.keras", "snapshots/2.keras"]
    assert second == first
    assert sorted(path.name for path in folder.glob("script_0/snapshots/*")) == [
        "1.keras",
        "2.keras",
    ]
    assert sorted(path.name for path in folder.glob("script_1/**/*")) == ["model_1.keras"]


def test_readme_shows_lines_of_the_script():
    script = pathlib.Path(SCRIPT)
    lines = script.read_text().splitlines()
    readme = (script.parents[1] / "README.md").read_text()
    (shown,) = [
        block
        for block in re.findall(r"```py\n(.*?)```", readme, re.DOTALL)
        if "keras.distribution.initialize" in block
    ]
    assert [line for line in shown.split("\n") if line.strip() and line[2:] not in lines] == []
