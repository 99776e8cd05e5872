"""The README's Python runs as it stands, and its commands are one line each."""

import pathlib
import re

import pytest

from tests.backends import tensorflow_only

README = pathlib.Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@tensorflow_only("the range test records losses in its compiled step")
def test_python_blocks_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = blocks("python")
    assert source
    namespace = {"__name__": "readme"}
    for block in source:
        exec(compile(block, str(README), "exec"), namespace)


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_one_command_line_under_the_heading(heading):
    _, _, section = README.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    section = section.split("\n## ")[0]
    (command,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert command.count("\n") == 1
    assert command.startswith("python3 -m venv ")
