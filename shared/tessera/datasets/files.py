"""Read files of unknown origin: only regular files of bounded size, and links out of the folder are reported."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tessera.errors import BadInput

MAX_BYTES: Final = 1 << 29
"""Largest file that is read: 64 megapixels of 16-bit RGB, uncompressed, are 384 MB."""


def read_bytes(path: Path, most: int = MAX_BYTES, start: int = 0) -> bytes:
    """Return ``most`` bytes (default: all) from ``start`` on of a regular file, or of one that a link leads to.

    BadInput for a folder, device, FIFO or socket (``/dev/zero`` has no end, a FIFO waits for ever) and for more than
    ``MAX_BYTES``; OSError as `open` raises it.
    """
    _check(path, path.stat())
    # It may be another file by now: opened without waiting, and checked again.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check(path, os.fstat(descriptor))
        file.seek(start)
        return file.read(most)


def read_file(path: Path, most: int = MAX_BYTES, start: int = 0) -> bytes:
    """Return the bytes as `read_bytes`, with BadInput where the file cannot be read."""
    try:
        return read_bytes(path, most, start)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from None


def read_text(path: Path) -> str:
    """Return the text as `read_bytes`, decoded; UnicodeDecodeError (a ValueError) when it is not UTF-8."""
    return read_bytes(path).decode("utf-8")


def leading_out(folder: Path, paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return those of ``paths`` whose file lies outside ``folder``, because they or a folder on the way are links."""
    root = folder.resolve()
    inside: dict[Path, bool] = {}
    found = []
    for path in paths:
        parent = path.parent
        if parent not in inside:
            inside[parent] = parent.resolve().is_relative_to(root)
        # Most files are no links: one system call each.
        if (not path.resolve().is_relative_to(root)) if path.is_symlink() else not inside[parent]:
            found.append(path)
    return tuple(found)


def _check(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        kind = next((word for test, word in _KINDS if test(facts.st_mode)), "special file")
        link = f", behind a link to {path.resolve()}" if path.is_symlink() else ""
        raise BadInput(f"{path}: is a {kind}{link}; only regular files are read, replace or remove it")
    if facts.st_size > MAX_BYTES:
        raise BadInput(
            f"{path}: has {facts.st_size >> 20} MiB; at most {MAX_BYTES >> 20} MiB are read, it is no image or list"
        )


_KINDS: Final = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISSOCK, "socket"),
)
