"""The notebooks: what is committed reads well, and runs again from top to bottom."""

import copy
import json
import os
import pathlib
import re
import sys

import pytest

nbformat = pytest.importorskip("nbformat")

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IMAGE = "image/png"

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def complaints(notebook):
    """What was written to stderr, and TensorFlow's warnings, which it writes to either stream."""
    streams = [output for output in outputs(notebook) if output.output_type == "stream"]
    return [o.text for o in streams if o.name == "stderr" or "WARNING:" in o.text]


def images(notebook):
    return [o.data[IMAGE] for o in outputs(notebook) if IMAGE in o.get("data", {})]


def test_numbered_without_a_gap():
    numbers = [path.name.partition("_")[0] for path in NOTEBOOKS]
    assert numbers == [f"{number:02d}" for number in range(1, len(numbers) + 1)]
    table = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS
    assert all(f"({path.name})" in table for path in NOTEBOOKS)


@each_notebook
def test_committed_as_executed(path):
    notebook = read(path)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not complaints(notebook)
    assert images(notebook)
    assert path.stat().st_size < 500_000


@each_notebook
def test_committed_without_traces_of_a_machine(path):
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not [cell.id for cell in notebook.cells if "execution" in cell.metadata]
    shown = copy.deepcopy(notebook)
    for output in outputs(shown):
        # Base64 has slashes, too.
        output.get("data", {}).pop(IMAGE, None)
    text = json.dumps(shown, ensure_ascii=False)
    assert not re.findall(r"/(?:home|tmp|root|work|Users|usr|opt)/[^\"\s]*|\b[A-Z]:\\\\", text)


@each_notebook
def test_downloads_nothing_by_default(path):
    source = "\n".join(cell.source for cell in code_cells(read(path)))
    flags = re.findall(r"^CIFAR10 *= *(.*)$", source, re.MULTILINE)
    assert flags == ["False"] * len(flags)
    assert flags or "keras.datasets" not in source


@pytest.mark.slow
@each_notebook
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    client = pytest.importorskip("nbclient")
    folder = tmp_path / "empty"
    folder.mkdir()
    notebook = read(path)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    name = install_this_interpreter(tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    # An error in a cell raises. The limit is for what hangs, not for what is slow.
    client.NotebookClient(
        notebook,
        kernel_name=name,
        resources={"metadata": {"path": str(folder)}},
        timeout=900,
        startup_timeout=180,
    ).execute()
    assert not complaints(notebook)
    assert len(images(notebook)) == len(images(read(path)))


def install_this_interpreter(folder):
    """Makes a kernel that is the interpreter of the tests, whichever kernels are installed.

    Args:
        folder: A folder that will be Jupyter's.

    Returns:
        The name of the kernel.
    """
    pytest.importorskip("ipykernel")
    name = "this-interpreter"
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        # The tests draw without a screen; what a notebook draws is to be in its outputs.
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "IPYTHONDIR": str(folder / "ipython"),
        # With this set, ipykernel takes sys.stderr only, and not what TensorFlow's C++ writes
        # about the machine that it runs on.
        "PYTEST_CURRENT_TEST": "notebook",
    }
    specification = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": name,
        "language": "python",
        "env": environment,
    }
    kernel = folder / "kernels" / name
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps(specification), encoding="utf-8")
    return name
