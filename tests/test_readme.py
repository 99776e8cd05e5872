"""The README's Python runs, its commands are one line each, its links lead somewhere."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


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


def links():
    return re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))


def test_links_lead_to_files():
    inside = [link for link in links() if not link.startswith("http")]
    assert inside
    assert [link for link in inside if not (ROOT / link).exists()] == []


@pytest.mark.slow
def test_the_script_draws_every_picture(tmp_path):
    pytest.importorskip("matplotlib")
    script = ROOT / "docs" / "draw_pictures.py"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, script, tmp_path], check=True, env=environment)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {pathlib.Path(link).name for link in links() if link.endswith(".png")}
    assert drawn == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in drawn)
