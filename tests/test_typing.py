"""What a user's type checker says: mypy, as strict as it can be, on an installed package."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent / "typing"
ROOT = FOLDER.parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rejected_lines():
    lines = (FOLDER / "rejected.py").read_text(encoding="utf-8").splitlines()
    return {
        number: re.search(r"# error: ([a-z-]+)$", line).group(1)
        for number, line in enumerate(lines, 1)
        if "# error: " in line
    }


@pytest.mark.slow
def test_mypy_accepts_what_is_right_and_refuses_each_wrong_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", tmp_path]
        + ["accepted.py", "rejected.py"],
        cwd=FOLDER,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    errors = re.findall(r"^(\w+\.py):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    assert [error for error in errors if error[0] != "rejected.py"] == [], done.stdout
    assert {int(line): code for _, line, code in errors} == rejected_lines(), (
        done.stdout + done.stderr
    )


@pytest.mark.slow
def test_what_is_accepted_runs(tmp_path):
    pytest.importorskip("matplotlib")
    load("accepted").everything(tmp_path)


def test_what_is_rejected_does_not_run():
    pytest.importorskip("matplotlib")
    lines = (FOLDER / "rejected.py").read_text(encoding="utf-8").splitlines()
    wrong = rejected_lines()
    assert len(wrong) > 30
    namespace = {}
    exec("\n".join(line for number, line in enumerate(lines, 1) if number not in wrong), namespace)
    for number in wrong:
        with pytest.raises((TypeError, ValueError)):
            exec(lines[number - 1], namespace)
