"""Keep one scratch folder per process, locked while it lives, so that those of killed processes can be removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from tessera.errors import Unavailable

PREFIX: Final = "tessera-scratch-"
_TRIES: Final = 5


class Scratch:
    """Temporary folders below one folder of this process; Unavailable when the disk refuses."""

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent
        self._root: Path | None = None
        self._lock = -1

    def folder(self) -> Path:
        """Make an empty folder; the first call makes the process's own and locks it."""
        try:
            if self._root is None or not self._root.is_dir():  # a cleaner of temporary files may have taken it
                self.remove()
                self._root, self._lock = _own(self._parent)
            return Path(tempfile.mkdtemp(dir=self._root))
        except OSError as error:
            where = self._parent or tempfile.gettempdir()
            raise Unavailable(
                f"scratch folder {where}: cannot be used ({error.strerror or error}); make room, or name another in "
                "TESSERA_SCRATCH_DIR"
            ) from None

    def remove(self) -> None:
        """Remove everything and release the lock."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
        self._root, self._lock = None, -1


def sweep(parent: Path | None) -> list[Path]:
    """Remove the scratch folders of ours in ``parent`` whose process has died; returns them.

    The lock goes with its process, however that ends, and holds between containers that share the folder, where a
    process id says nothing. Another user's folders and links stay.
    """
    with contextlib.suppress(OSError), os.scandir(parent or tempfile.gettempdir()) as entries:
        ours = [each for each in entries if each.name.startswith(PREFIX) and each.is_dir(follow_symlinks=False)]
        return [Path(each.path) for each in ours if _remove_left(each)]
    return []


def _remove_left(entry: os.DirEntry[str]) -> bool:
    try:
        if entry.stat(follow_symlinks=False).st_uid != os.getuid():
            return False
        lock = _locked(Path(entry.path))
    except OSError:
        return False
    try:
        # Under its lock: an owner that has made it but not locked it yet sees that it is gone.
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(lock)
    return True


def _own(parent: Path | None) -> tuple[Path, int]:
    """Make a folder and lock it; another one when a sweep removed it in between."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            lock = _locked(folder)
        except (FileNotFoundError, BlockingIOError):
            continue
        except OSError:
            return folder, -1  # no locks here (some network file systems), so nobody sweeps either
        if folder.is_dir():
            return folder, lock
        os.close(lock)
    raise OSError("it is cleaned away again and again")


def _locked(folder: Path) -> int:
    """Return the descriptor that holds the folder's lock; OSError when another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
