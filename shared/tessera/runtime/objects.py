"""The interface of the object store, and which service may read which labels. Ground truth is in the store. Objects are
immutable but for records under a job's path, whose winner is decided elsewhere (a conditional PUT is ignored by some S3
servers, so none is ever used).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from tessera.errors import BadInput
from tessera.formats.outside import is_outside
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.references import (
    LOCAL_BUCKET,
    Bodies,
    Listed,
    check_key,
    check_prefix,
    check_ref,
    content_key,
    make_ref,
    missing,
    sha256,
    verify,
)

if TYPE_CHECKING:
    from tessera.runtime.settings import Settings

_LABELS: Final = re.compile(r"datasets/[^/]+/labels/(?P<split>[^/]+?)(?:\.json|/.*)?")

READABLE_LABELS: Final[dict[str, frozenset[str]]] = {
    "partitioner": frozenset(),
    "scorer": frozenset(),
    "embedder": frozenset(),
    "selector": frozenset(),
    "oracle": frozenset({"train"}),
    "trainer": frozenset({"val"}),
    "evaluator": frozenset({"train", "val", "test"}),
    "coordinator": frozenset(),
    "dashboard": frozenset(),
}
"""Splits whose ground truth a service may read. The trainer's train labels are the oracle's answers, not these."""
READABLE_NAMES: Final[dict[str, frozenset[str]]] = {"coordinator": frozenset({"train"})}
"""Splits of which a service may read no label, but which images have one: their label manifest. The coordinator sets
an evaluation set aside among the others."""


class ObjectStore(Protocol):
    """Interface of the object store. Every method raises BadInput (key, reference), CorruptObject or Unavailable."""

    bucket: str

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        """Write the object whole or not at all; replace an earlier one."""
        ...

    async def put_content(self, data: bytes, media_type: str) -> ObjectRef:
        """Write under the content-addressed key."""
        ...

    async def get(self, ref: ObjectRef) -> bytes:
        """Return the bytes of the reference, size and sha256 verified; CorruptObject names the key."""
        ...

    async def path(self, ref: ObjectRef) -> Path:
        """Return the path of a local file that was verified just now and is not to be changed."""
        ...

    async def exists(self, key: str) -> ObjectRef | None:
        """Return the reference of the object under the key, or None."""
        ...

    async def read_key(self, key: str, max_bytes: int) -> bytes | None:
        """Return the bytes under a key that has no reference yet (records), or None; BadInput beyond ``max_bytes``."""
        ...

    async def read_keys(self, keys: Sequence[str], max_bytes: int) -> Bodies:
        """Do as `read_key` for a few keys at once, of small objects; in the order of the keys."""
        ...

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with the prefix, sorted."""
        ...

    async def kept(self, prefix: str) -> Listed:
        """Return size and time of the objects whose keys begin with the prefix, sorted."""
        ...

    async def peek(self, key: str, count: int) -> bytes:
        """Return the first ``count`` bytes under the key, fewer where it is shorter; empty when there is nothing."""
        ...

    async def delete(self, key: str, before: float) -> bool:
        """Remove the object under the key if it was last written before a time; return whether it was. For ``gc``,
        and for checkpoints.
        """
        ...

    async def check(self) -> str:
        """Write, read and describe: one line for ``tessera doctor``; Unavailable when it does not work."""
        ...


def open_store(url: str, settings: Settings) -> ObjectStore:
    """Open ``file:///folder`` or ``s3://bucket/prefix``; touches neither disk nor network yet."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        from tessera.runtime.file_store import FileStore

        return FileStore(Path(unquote(parts.path)), settings)
    if parts.scheme == "s3" and parts.netloc:
        from tessera.runtime.s3_store import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), settings)
    raise BadInput(f"store {url!r}: not a store address; write file:///folder or s3://bucket/prefix")


def bucket_of(url: str) -> str:
    """Return the bucket that references of the store at ``url`` carry."""
    parts = urlsplit(url)
    return parts.netloc if parts.scheme == "s3" else LOCAL_BUCKET


def restrict(store: ObjectStore, service: str) -> ObjectStore:
    """Wrap a store so that the service reads only the ground truth that ``READABLE_LABELS`` grants it."""
    if service not in READABLE_LABELS:
        raise BadInput(f"service {service!r}: has no read policy; add it to READABLE_LABELS")
    return _Restricted(store, service)


def may_read(service: str, key: str) -> bool:
    """Return whether the service's policy lets it read the key."""
    labels = _LABELS.fullmatch(key)
    if labels is None or labels["split"] in READABLE_LABELS[service]:
        return True
    return labels["split"] in READABLE_NAMES.get(service, ()) and key.endswith(f"/labels/{labels['split']}.json")


class _Restricted:
    def __init__(self, store: ObjectStore, service: str) -> None:
        self.bucket = store.bucket
        self._store = store
        self._service = service

    def _check(self, key: str) -> None:
        if not may_read(self._service, check_key(key)):
            raise BadInput(f"object {key}: permission denied, the {self._service} may not read these labels")

    def _check_ref(self, ref: ObjectRef) -> None:
        # Images outside are no labels, and the store refuses a reference that leads back into it.
        if not is_outside(ref):
            self._check(ref.key)

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        return await self._store.put(key, data, media_type)

    async def put_content(self, data: bytes, media_type: str) -> ObjectRef:
        return await self._store.put_content(data, media_type)

    async def get(self, ref: ObjectRef) -> bytes:
        self._check_ref(ref)
        return await self._store.get(ref)

    async def path(self, ref: ObjectRef) -> Path:
        self._check_ref(ref)
        return await self._store.path(ref)

    async def exists(self, key: str) -> ObjectRef | None:
        self._check(key)
        return await self._store.exists(key)

    async def read_key(self, key: str, max_bytes: int) -> bytes | None:
        self._check(key)
        return await self._store.read_key(key, max_bytes)

    async def read_keys(self, keys: Sequence[str], max_bytes: int) -> Bodies:
        for key in keys:
            self._check(key)
        return await self._store.read_keys(keys, max_bytes)

    async def list(self, prefix: str) -> list[str]:
        return [key for key in await self._store.list(prefix) if may_read(self._service, key)]

    async def kept(self, prefix: str) -> Listed:
        return [one for one in await self._store.kept(prefix) if may_read(self._service, one.key)]

    async def peek(self, key: str, count: int) -> bytes:
        self._check(key)
        return await self._store.peek(key, count)

    async def delete(self, key: str, before: float) -> bool:
        if key.startswith("checkpoints/"):  # whoever does a job removes its checkpoints
            return await self._store.delete(check_key(key), before)
        raise BadInput(f"object {key}: the {self._service} deletes nothing; tessera gc does")

    async def check(self) -> str:
        return await self._store.check()


__all__ = [
    "LOCAL_BUCKET",
    "READABLE_LABELS",
    "READABLE_NAMES",
    "ObjectStore",
    "bucket_of",
    "check_key",
    "check_prefix",
    "check_ref",
    "content_key",
    "make_ref",
    "may_read",
    "missing",
    "open_store",
    "restrict",
    "sha256",
    "verify",
]
