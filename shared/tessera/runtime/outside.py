"""Read images that stay outside the store: verified against their reference on every read, like any other object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tessera.datasets.files import read_bytes
from tessera.errors import BadInput, CorruptObject, Unavailable
from tessera.formats import outside
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import references
from tessera.runtime.settings import Settings

if TYPE_CHECKING:
    from tessera.runtime.object_cache import ObjectCache


class Bucket(Protocol):
    """The part of a bucket that reading an object by its whole key needs."""

    @property
    def cache(self) -> ObjectCache:
        """Return the local copies of the bucket's objects."""
        ...

    async def fetch(self, key: str, most: int) -> bytes | None:
        """Return at most ``most`` + 1 bytes of an object by its whole key, or None where there is none."""
        ...


class OutsideObjects:
    """Images by references that lead out of the store at ``home``, an address ``file:///folder`` or ``s3://…``.

    Files are read where the store is a folder: its services run on one machine. Buckets are read with the credentials
    of the store (``TESSERA_S3_*``). A reference that leads back into the store is refused: labels lie there, which not
    every service may read.
    """

    def __init__(self, home: str, settings: Settings, bucket: Callable[[str], Bucket]) -> None:
        """``bucket`` opens a bucket by its name."""
        self._home, self._settings, self._open = home.rstrip("/"), settings, bucket
        self._buckets: dict[str, Bucket] = {}

    async def get(self, ref: ObjectRef) -> bytes:
        """Return the verified bytes; CorruptObject names an image that is gone or has changed since its import."""
        self._check(ref)
        if ref.bucket == outside.FILE:
            return await asyncio.to_thread(self._read, ref)
        data = await self._bucket(ref.bucket).fetch(ref.key, ref.size)
        if data is None:
            raise _gone(ref)
        return await asyncio.to_thread(_verify, ref, data)

    async def path(self, ref: ObjectRef) -> Path:
        """Return the path of a file with the verified bytes: the image itself, or a local copy of an object."""
        self._check(ref)
        if ref.bucket == outside.FILE:
            await asyncio.to_thread(self._read, ref)
            return Path(ref.key)
        cache = self._bucket(ref.bucket).cache
        found = await asyncio.to_thread(cache.find, ref)
        if found is None:
            found = await asyncio.to_thread(cache.add, ref, await self.get(ref))
        return found

    def _check(self, ref: ObjectRef) -> None:
        outside.check_outside(ref, "image")
        references.check_digest(ref, self._settings.object_bytes)
        place = outside.address(ref)
        whole = f"{outside.FILE}{place}" if ref.bucket == outside.FILE else place
        if whole.startswith(f"{self._home}/"):
            raise BadInput(f"image {place}: lies inside the store; import it from where it came from")
        if ref.bucket == outside.FILE and not self._home.startswith(outside.FILE):
            raise BadInput(
                f"image {place}: is a file of one machine, and the store {self._home} is for many; bring the images "
                "into a bucket and import them from there"
            )

    def _bucket(self, name: str) -> Bucket:
        if name not in self._buckets:
            self._buckets[name] = self._open(name.removeprefix(outside.S3))
        return self._buckets[name]

    @staticmethod
    def _read(ref: ObjectRef) -> bytes:
        try:
            data = read_bytes(Path(ref.key), ref.size + 1)
        except (FileNotFoundError, NotADirectoryError, BadInput):
            # Also where something that is no file has taken its place.
            raise _gone(ref) from None
        except OSError as error:
            raise Unavailable(f"image {ref.key}: cannot be read ({error.strerror}); check its permissions") from None
        return _verify(ref, data)


def _verify(ref: ObjectRef, data: bytes) -> bytes:
    try:
        return references.verify(ref, data)
    except CorruptObject:
        raise CorruptObject(
            f"image {outside.address(ref)}: has changed since it was imported: it is not the {ref.size} bytes with "
            f"sha256 {ref.sha256[:12]}… that the data set names",
            ref,
        ) from None


def _gone(ref: ObjectRef) -> CorruptObject:
    return CorruptObject(f"image {outside.address(ref)}: is not there any more, but the data set names it", ref)
