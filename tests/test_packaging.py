"""`python -m build`: what the sdist and the wheel hold, and that the wheel works by itself."""

import email.parser
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import keras_cyclic as kc

ROOT = pathlib.Path(__file__).parents[1]
NOT_TRACKED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
# Without the seconds that importing Keras takes.
FIND = """
import importlib.metadata, importlib.util
print(importlib.util.find_spec("keras_cyclic").origin, importlib.metadata.version("keras_cyclic"))
"""
NAME = f"keras_cyclic-{kc.__version__}"


def run(*command, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def source_files(folder):
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    names = (path.relative_to(ROOT).as_posix() for path in files)
    return {name for name in names if "__pycache__" not in name and "/." not in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of an sdist and of the wheel that was made from the sdist."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_TRACKED)
    # With the setuptools that is installed: a test should not have to download one.
    run("-m", "build", "--no-isolation", "--outdir", folder / "dist", "source", cwd=folder)
    return folder / "dist"


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built):
    assert {path.name for path in built.iterdir()} == {
        f"{NAME}-py3-none-any.whl",
        f"{NAME}.tar.gz",
    }
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        metadata = email.parser.Parser().parsestr(
            wheel.read(f"{NAME}.dist-info/METADATA").decode("utf-8")
        )
    package = {name for name in names if not name.startswith(f"{NAME}.dist-info/")}
    assert package == source_files("keras_cyclic")
    assert "keras_cyclic/py.typed" in package
    assert f"{NAME}.dist-info/licenses/LICENSE" in names
    assert metadata["Name"] == "keras_cyclic"
    assert metadata["Version"] == kc.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in needed) == ["keras", "numpy", "tensorflow"]


@pytest.mark.slow
def test_the_sdist_holds_what_is_needed_to_build_and_to_test(built):
    with tarfile.open(built / f"{NAME}.tar.gz") as sdist:
        names = {member.name.removeprefix(f"{NAME}/") for member in sdist if member.isfile()}
    texts = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"}
    sources = set().union(*map(source_files, ("keras_cyclic", "tests", "docs", "notebooks")))
    made = {"PKG-INFO", "setup.cfg"}
    rest = names - sources - made - texts - {"pyproject.toml", "MANIFEST.in", "conftest.py"}
    assert sources | texts | {"pyproject.toml", "conftest.py"} <= names
    assert all(name.startswith("keras_cyclic.egg-info/") for name in rest), rest


@pytest.mark.slow
def test_the_installed_wheel_runs_outside_of_the_checkout(built, tmp_path):
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    wheel = built / f"{NAME}-py3-none-any.whl"
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", installed)
    run(*pip, wheel, cwd=empty)
    where = run("-c", FIND, cwd=empty, PYTHONPATH=str(installed))
    assert where.split() == [str(installed / "keras_cyclic" / "__init__.py"), kc.__version__]
    usage = run("-m", "keras_cyclic", "--help", cwd=empty, PYTHONPATH=str(installed))
    assert "python -m keras_cyclic" in usage
    assert not list(empty.iterdir())
