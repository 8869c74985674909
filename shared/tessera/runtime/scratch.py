"""Scratch folders: one a process, locked while it lives, so that what a killed process left can be told and removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from tessera.errors import Unavailable

PREFIX: Final = "tessera-scratch-"
_YOUNG_SECONDS: Final = 60.0
"""A folder this young may be one whose owner has not locked it yet."""


class Scratch:
    """Temporary folders below one folder of this process; Unavailable when the disk does not give them."""

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent
        self._root: Path | None = None
        self._lock = -1

    def folder(self) -> Path:
        """Make an empty folder; the first call makes the process's own and locks it."""
        try:
            if self._root is None or not self._root.is_dir():  # a cleaner of temporary files may have taken it
                self.remove()
                self._root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
                self._lock = _locked(self._root)
            return Path(tempfile.mkdtemp(dir=self._root))
        except OSError as error:
            where = self._parent or tempfile.gettempdir()
            raise Unavailable(
                f"scratch folder {where}: cannot be used ({error.strerror or error}); make room, or name another in "
                "TESSERA_SCRATCH_DIR"
            ) from None

    def remove(self) -> None:
        """Remove everything and let go of the lock."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
        self._root, self._lock = None, -1


def sweep(parent: Path | None) -> list[Path]:
    """Remove the scratch folders of ours in ``parent`` whose process has died; returns them.

    The lock goes with its process, however that ends, and holds between containers that share the folder, where a
    process id says nothing. Another user's folders, links and folders younger than a minute stay.
    """
    removed: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(parent or tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False) and _is_left(entry):
                shutil.rmtree(entry.path, ignore_errors=True)
                removed.append(Path(entry.path))
    return removed


def _is_left(entry: os.DirEntry[str]) -> bool:
    try:
        status = entry.stat(follow_symlinks=False)
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG_SECONDS:
            return False
        os.close(_locked(Path(entry.path)))
    except OSError:
        return False
    return True


def _locked(folder: Path) -> int:
    """Descriptor that holds the folder's lock; OSError when another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
