"""Files that appear whole or not at all."""

import contextlib
import os
import shutil


@contextlib.contextmanager
def whole_file(path):
    """Gives the path to write a file at, for a file that appears at `path` when it is whole.

    It is written in a hidden folder `.<name of the file>.partial` beside `path`, and renamed when
    the block ends without an error. What a crash left of that folder is removed.

    Args:
        path: Where the file is to be, on a local file system. Folders are made.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        # A device or a pipe, which must not be replaced.
        yield path
        return
    folder, name, partial = _places(path)
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    try:
        # In a folder, because Keras saves to names that end in .keras only, and those who look
        # for files by that end must not find a part of one.
        written = os.path.join(partial, name)
        yield written
        with open(written, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(written, os.path.join(folder, name))
        if os.name == "posix":
            _flush_folder(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _places(path):
    folder, name = os.path.split(os.path.realpath(path))
    return folder, name, os.path.join(folder, f".{name}.partial")


def _flush_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path):
    """Makes the folder of a file and writes into it, to find now what would fail later.

    Args:
        path: Where a file is to be, on a local file system.

    Raises:
        OSError: If nothing can be written there.
    """
    partial = _places(path)[-1]
    try:
        os.makedirs(partial, exist_ok=True)
        with open(os.path.join(partial, "test"), "wb") as file:
            file.write(b"1")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
