"""Folders and buckets of the user, whose images a data set refers to: what is in them, and their bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from tessera.datasets.files import MAX_BYTES, read_file
from tessera.errors import BadInput
from tessera.formats import outside
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.references import Seen
from tessera.runtime.settings import Settings

_PAGE: Final = 1000


class SourceRefused(BadInput):
    """The source as a whole cannot be read, with these credentials; not one of its files."""


class ImageSource(Protocol):
    """Files or objects below one place; names are relative to it, with ``/``."""

    where: str

    def pages(self) -> AsyncIterator[list[Seen]]:
        """Yield everything below the place, a thousand at a time, in any order."""
        ...

    async def read(self, name: str) -> bytes:
        """Return the bytes; BadInput names a file that cannot be read, SourceRefused says that none can be."""
        ...

    def reference(self, name: str, sha256: str, size: int, media_type: str) -> ObjectRef:
        """Return the reference by which services read it."""
        ...

    def address(self, name: str) -> str:
        """Return the whole address, for messages."""
        ...


def open_source(place: str, store: str, settings: Settings) -> ImageSource:
    """Open a folder or ``s3://bucket/prefix``; BadInput where the services of ``store`` could not read it.

    A folder needs a store that is a folder, too: then all services run on this machine.
    """
    parts = urlsplit(place)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise BadInput(f"{place}: no bucket; write s3://BUCKET/PREFIX")
        source: ImageSource = _BucketSource(parts.netloc, place.split("://", 1)[1].partition("/")[2], settings)
    elif parts.scheme in ("", "file"):
        folder = Path(unquote(parts.path) if parts.scheme else place).absolute()
        if not folder.is_dir():
            raise BadInput(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; check the path")
        if not store.startswith(outside.FILE):
            raise BadInput(
                f"{folder}: is a folder of this machine, and services that use the store {store} may run on others; "
                "bring the images into a bucket and import s3://BUCKET/PREFIX, or copy them with: "
                "tessera data import native DIR"
            )
        source = _FolderSource(Path(os.path.normpath(folder)))
    else:
        raise BadInput(f"{place}: neither a folder nor s3://BUCKET/PREFIX")
    mine, home = f"{source.address('').rstrip('/')}/", f"{store.removeprefix(outside.FILE).rstrip('/')}/"
    if mine.startswith(home) or home.startswith(mine):
        raise BadInput(f"{place}: overlaps with the store {store}; keep images and store in folders of their own")
    return source


class _FolderSource:
    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder

    async def pages(self) -> AsyncIterator[list[Seen]]:
        found = self._walk()
        while page := await asyncio.to_thread(lambda: list(islice(found, _PAGE))):
            yield page

    def _walk(self) -> Iterator[Seen]:
        for directory, folders, names in os.walk(self._folder, onerror=_unreadable):
            folders.sort()
            for name in sorted(names):
                path = Path(directory) / name
                try:
                    status = path.stat()
                    size, stamp = status.st_size, f"{status.st_size}-{status.st_mtime_ns}"
                except OSError:
                    # A link that leads nowhere: reading it says so.
                    size, stamp = 1, ""
                yield Seen(path.relative_to(self._folder).as_posix(), size, stamp)

    async def read(self, name: str) -> bytes:
        return await asyncio.to_thread(read_file, self._folder / name)

    def reference(self, name: str, sha256: str, size: int, media_type: str) -> ObjectRef:
        return ObjectRef(bucket=outside.FILE, key=self.address(name), sha256=sha256, size=size, media_type=media_type)

    def address(self, name: str) -> str:
        return str(self._folder / name)


class _BucketSource:
    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        from tessera.runtime.s3_store import S3Store

        self._bucket, self._prefix = bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        self.where = f"s3://{bucket}/{self._prefix}".rstrip("/")
        self._store = S3Store(bucket, "", settings)

    async def pages(self) -> AsyncIterator[list[Seen]]:
        async for page in self._store.pages(self._prefix):
            # Keys that end so are the folders that some tools make.
            yield [
                Seen(one.name.removeprefix(self._prefix), one.size, one.stamp)
                for one in page
                if not one.name.endswith("/")
            ]

    async def read(self, name: str) -> bytes:
        try:
            data = await self._store.fetch(self._prefix + name, MAX_BYTES)
        except BadInput as error:
            raise SourceRefused(str(error)) from None
        if data is None:
            raise BadInput(f"{self.address(name)}: is not there any more; import again when the bucket is at rest")
        if len(data) > MAX_BYTES:
            raise BadInput(f"{self.address(name)}: has more than {MAX_BYTES >> 20} MiB, so it is no image; remove it")
        return data

    def reference(self, name: str, sha256: str, size: int, media_type: str) -> ObjectRef:
        bucket, key = f"{outside.S3}{self._bucket}", self._prefix + name
        return ObjectRef(bucket=bucket, key=key, sha256=sha256, size=size, media_type=media_type)

    def address(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}"


def _unreadable(error: OSError) -> None:
    raise BadInput(f"{error.filename}: cannot be read ({error.strerror}); check its permissions")
