"""Local copies of remote objects: the least recently used are evicted first, and damaged ones are never returned."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
import uuid
from pathlib import Path

from tessera.errors import Unavailable
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.references import content_key

_TEMPORARY = ".tmp-"
_STALE_SECONDS = 3600.0


class ObjectCache:
    """Files by sha256 below ``folder``, shared by any number of threads and processes; all calls block.

    ``max_bytes`` is a soft limit: a copy that was used within ``keep_seconds`` stays, for a job may be reading it.
    """

    def __init__(self, folder: Path, max_bytes: int, keep_seconds: float) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep_seconds = keep_seconds
        self._room = 0
        self._lock = threading.Lock()

    def find(self, ref: ObjectRef) -> Path | None:
        """Return the verified copy and mark it used; a damaged one is removed and counts as absent."""
        path = self._place(ref)
        try:
            # Before it is read, so that nobody evicts it in between.
            os.utime(path)
            with path.open("rb") as file:
                intact = hashlib.file_digest(file, "sha256").hexdigest() == ref.sha256
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure(path, error) from None
        if intact:
            return path
        path.unlink(missing_ok=True)
        return None

    def add(self, ref: ObjectRef, data: bytes) -> Path:
        """Keep verified bytes and return their path; Unavailable when the disk is full."""
        path = self._place(ref)
        temporary = path.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
        with self._lock:
            self._room -= len(data)
            full = self._room < 0
        if full:
            self.evict()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._failure(path, error) from None
        return path

    def evict(self) -> None:
        """Drop the least recently used copies down to nine tenths of the limit, and files left by crashes."""
        now = time.time()
        entries: list[tuple[float, int, Path]] = []
        for directory, _, names in os.walk(self._folder):
            for name in names:
                path = Path(directory) / name
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                if name.startswith(_TEMPORARY):
                    if now - status.st_mtime > _STALE_SECONDS:
                        path.unlink(missing_ok=True)
                    continue
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for used, size, path in sorted(entries):
            if total <= self._max_bytes * 0.9 or now - used < self._keep_seconds:
                break
            path.unlink(missing_ok=True)
            total -= size
        with self._lock:
            # Not zero, so that a cache that cannot shrink is not walked at every addition.
            self._room = max(self._max_bytes - total, self._max_bytes // 50)

    def _place(self, ref: ObjectRef) -> Path:
        # An object that is not under its content's key may be one that only some services may read: the key is part of
        # its name here, so that its hash alone does not find it.
        suffix = "" if ref.key == content_key(ref.sha256) else "-" + hashlib.sha256(ref.key.encode()).hexdigest()[:16]
        return self._folder / ref.sha256[:2] / f"{ref.sha256[2:]}{suffix}"

    @staticmethod
    def _failure(path: Path, error: OSError) -> Unavailable:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Unavailable(f"cache {path}: no room left; make room or lower TESSERA_CACHE_BYTES")
        return Unavailable(f"cache {path}: cannot be used ({error.strerror or error}); set TESSERA_CACHE_DIR")
