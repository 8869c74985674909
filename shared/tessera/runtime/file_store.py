"""The object store in a folder: the embedded default, and the reference the S3 store is tested against."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from tessera.errors import BadInput, CorruptObject, TesseraError, Unavailable
from tessera.formats.outside import is_outside
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import references
from tessera.runtime.outside import Bucket, OutsideObjects
from tessera.runtime.settings import Settings

_Keys = list[str]
_TEMPORARY = ".tmp-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class FileStore:
    """Objects as files below ``root``, one per key.

    A write goes to a hidden temporary file beside its place, is flushed (``TESSERA_FSYNC``) and renamed: a reader sees
    the old object or the new one, and a power cut never leaves a name on half an object. Without the flush a killed
    process still loses nothing; only a machine that dies can leave empty files, which reads refuse.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.bucket = references.LOCAL_BUCKET
        self.root = root
        self._settings = settings
        self._fsync = settings.fsync
        self._max_bytes = settings.object_bytes
        self._outside = OutsideObjects(f"file://{root}", settings, self._bucket)

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        """Write the object whole or not at all; replace an earlier one. Unavailable when the disk is full."""
        path = self.root / references.check_key(key)
        if len(data) > self._max_bytes:
            raise BadInput(f"object {key}: {len(data)} bytes are more than {self._max_bytes} (TESSERA_OBJECT_BYTES)")
        return await asyncio.to_thread(self._put, path, key, data, media_type)

    async def put_content(self, data: bytes, media_type: str) -> ObjectRef:
        """Write under the content-addressed key; an intact object is kept, and its age starts anew."""
        ref = await asyncio.to_thread(references.make_ref, self.bucket, "cas", data, media_type)
        ref.key = references.content_key(ref.sha256)
        try:
            path = await self.path(ref)
            # It is needed from now on, and gc decides by age.
            await asyncio.to_thread(os.utime, path)
        except (CorruptObject, OSError):
            return await self.put(ref.key, data, media_type)
        return ref

    async def get(self, ref: ObjectRef) -> bytes:
        """Return the bytes of the reference, size and sha256 verified; CorruptObject names the key."""
        if is_outside(ref):
            return await self._outside.get(ref)
        path = self._place(ref)
        return await asyncio.to_thread(self._get, path, ref)

    async def path(self, ref: ObjectRef) -> Path:
        """Return the path of the store's own file, hashed just now."""
        if is_outside(ref):
            return await self._outside.path(ref)
        path = self._place(ref)
        await asyncio.to_thread(self._verify, path, ref)
        return path

    async def exists(self, key: str) -> ObjectRef | None:
        """Return the reference of the object under the key (read and hashed; without a media type), or None."""
        data = await self.read_key(key, self._max_bytes)
        return None if data is None else references.make_ref(self.bucket, key, data, "")

    async def read_key(self, key: str, max_bytes: int) -> bytes | None:
        """Return the bytes under the key, or None; BadInput beyond ``max_bytes``."""
        return (await self.read_keys([key], max_bytes))[0]

    async def read_keys(self, keys: Sequence[str], max_bytes: int) -> references.Bodies:
        """Read a few files in one thread: a thread for each would cost more than to read it."""
        paths = [self.root / references.check_key(key) for key in keys]
        return await asyncio.to_thread(self._read_small, paths, keys, max_bytes)

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with the prefix, sorted."""
        return await asyncio.to_thread(self._list, references.check_prefix(prefix))

    async def kept(self, prefix: str) -> references.Listed:
        """Return size and time of the objects whose keys begin with the prefix, sorted."""
        return await asyncio.to_thread(self._kept, references.check_prefix(prefix))

    async def peek(self, key: str, count: int) -> bytes:
        """Return the first ``count`` bytes under the key; empty when there is nothing."""
        path = self.root / references.check_key(key)
        return (await asyncio.to_thread(self._read, path, key, count) or b"")[:count]

    async def delete(self, key: str, before: float) -> bool:
        """Remove the object under the key if it was last written before a time; return whether it was removed."""
        return await asyncio.to_thread(self._delete, self.root / references.check_key(key), key, before)

    async def check(self) -> str:
        """Write and read a probe; say where the store is and how much room it has."""
        ref = await self.put("check/probe", uuid.uuid4().bytes, "application/octet-stream")
        await self.get(ref)
        free = shutil.disk_usage(self.root).free
        return f"folder {self.root}, {free / 2**30:.1f} GiB free"

    def _bucket(self, name: str) -> Bucket:
        from tessera.runtime.s3_store import S3Store

        return S3Store(name, "", self._settings)

    def _place(self, ref: ObjectRef) -> Path:
        return self.root / references.check_ref(ref, self.bucket, self._max_bytes).key

    def _put(self, path: Path, key: str, data: bytes, media_type: str) -> ObjectRef:
        temporary = path.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    if self._fsync:
                        file.flush()
                        os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._failure(error, path, key) from None
        return references.make_ref(self.bucket, key, data, media_type)

    def _read(self, path: Path, key: str, max_bytes: int) -> bytes | None:
        try:
            with path.open("rb") as file:
                return file.read(max_bytes + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise self._failure(error, path, key) from None

    def _read_small(self, paths: Sequence[Path], keys: Sequence[str], max_bytes: int) -> references.Bodies:
        found = [self._read(path, key, max_bytes) for path, key in zip(paths, keys, strict=True)]
        for key, data in zip(keys, found, strict=True):
            if data is not None and len(data) > max_bytes:
                raise BadInput(f"object {key}: is larger than {max_bytes} bytes")
        return found

    def _get(self, path: Path, ref: ObjectRef) -> bytes:
        data = self._read(path, ref.key, ref.size)
        if data is None:
            raise references.missing(ref)
        if len(data) > ref.size:
            raise CorruptObject(f"object {ref.key}: is longer than the {ref.size} bytes its reference says", ref)
        return references.verify(ref, data)

    def _verify(self, path: Path, ref: ObjectRef) -> None:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != ref.size:
                    raise CorruptObject(f"object {ref.key}: has {size} bytes, its reference says {ref.size}", ref)
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise references.missing(ref) from None
        except OSError as error:
            raise self._failure(error, path, ref.key) from None
        if actual != ref.sha256:
            raise CorruptObject(f"object {ref.key}: sha256 is {actual}, its reference says {ref.sha256}", ref)

    def _list(self, prefix: str) -> _Keys:
        # Walk only below the last whole folder of the prefix.
        folder = self.root / prefix.rpartition("/")[0]
        keys = []
        for directory, _, names in os.walk(folder):
            for name in names:
                key = (Path(directory) / name).relative_to(self.root).as_posix()
                if not name.startswith(_TEMPORARY) and key.startswith(prefix):
                    keys.append(key)
        return sorted(keys)

    def _failure(self, error: OSError, path: Path, key: str) -> TesseraError:
        if error.errno in _NO_ROOM:
            free = self._free(path)
            return Unavailable(f"object {key}: no room for {path} ({error.strerror}, {free} bytes free); make room")
        return Unavailable(f"object {key}: {path} cannot be used ({error.strerror or error}); check the folder")

    def _kept(self, prefix: str) -> references.Listed:
        found = []
        for key in self._list(prefix):
            with contextlib.suppress(FileNotFoundError):
                status = (self.root / key).stat()
                found.append(references.StoredObject(key, status.st_size, status.st_mtime))
        return found

    def _delete(self, path: Path, key: str, before: float) -> bool:
        try:
            if path.stat().st_mtime >= before:
                return False
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._failure(error, path, key) from None
        return True

    @staticmethod
    def _free(path: Path) -> int:
        for place in path.parents:
            if place.exists():
                return shutil.disk_usage(place).free
        return 0
