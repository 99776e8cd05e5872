"""Disks that fail: a full one, a read-only one, and files that may not grow."""

import contextlib
import os
import subprocess

import pytest

SPARE = 1024


class FileSizeLimit:
    """No file of this process grows beyond a few bytes: what a full disk does, for any user."""

    reason = "File too large"

    def __init__(self, folder):
        self.folder = folder
        self._resource = pytest.importorskip("resource", reason="limits of a process")
        self._before = self._resource.getrlimit(self._resource.RLIMIT_FSIZE)

    def break_it(self):
        # Python ignores the signal, so that a write ends with an error.
        self._resource.setrlimit(self._resource.RLIMIT_FSIZE, (SPARE, self._before[1]))

    def mend_it(self):
        self._resource.setrlimit(self._resource.RLIMIT_FSIZE, self._before)

    close = mend_it


class _Mounted:
    """A small disk of its own, in memory."""

    def __init__(self, folder):
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no right to mount a disk")

    def close(self):
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


class FullDisk(_Mounted):
    """Another file takes what is left of the disk."""

    reason = "No space left on device"

    def break_it(self):
        with contextlib.suppress(OSError), open(self.folder / "filling", "wb", 0) as file:
            while True:
                file.write(b"0" * SPARE)

    def mend_it(self):
        os.remove(self.folder / "filling")


class ReadOnlyDisk(_Mounted):
    reason = "Read-only file system"

    def break_it(self):
        self._remount("ro")

    def mend_it(self):
        self._remount("rw")

    def _remount(self, mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.folder)], check=True)


class ReadOnlyFolder:
    """A folder in which this user may not make files."""

    reason = "Permission denied"

    def __init__(self, folder):
        self.folder = folder
        if os.name != "posix" or os.geteuid() == 0:
            pytest.skip("permissions do not bind this user")

    def break_it(self):
        self.folder.chmod(0o555)

    def mend_it(self):
        self.folder.chmod(0o755)

    close = mend_it
