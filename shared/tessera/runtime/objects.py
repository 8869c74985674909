"""The object store's seam: keys, references, the protocol both stores keep, and who may read which labels.

Truth is in the store. Objects are immutable but for records under a job's path, whose winner is decided elsewhere (a
conditional PUT is ignored by some S3 servers, so none is ever used).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from tessera.errors import BadInput, CorruptObject
from tessera.pb.common_pb2 import ObjectRef

if TYPE_CHECKING:
    from tessera.runtime.settings import Settings

KEY_PATTERN: Final = re.compile(r"[a-z0-9][a-zA-Z0-9._/-]{0,511}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LABELS: Final = re.compile(r"datasets/[^/]+/labels/(?P<split>[^/]+?)(?:\.json|/.*)?")
LOCAL_BUCKET: Final = "local"
"""Bucket name in references of ``file://`` stores: the folder may move, the references stay valid."""

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


class ObjectStore(Protocol):
    """Where objects are kept. Every method raises BadInput (key, reference), CorruptObject or Unavailable."""

    bucket: str

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        """Write the object whole or not at all, replacing what was there."""
        ...

    async def put_content(self, data: bytes, media_type: str) -> ObjectRef:
        """Write under the content-addressed key."""
        ...

    async def get(self, ref: ObjectRef) -> bytes:
        """Bytes of the reference, size and sha256 verified; CorruptObject names the key."""
        ...

    async def path(self, ref: ObjectRef) -> Path:
        """Path of a local file that was verified just now and is not to be changed."""
        ...

    async def exists(self, key: str) -> ObjectRef | None:
        """Reference of what is under the key, or None."""
        ...

    async def read_key(self, key: str, max_bytes: int) -> bytes | None:
        """Bytes under a key that has no reference yet (records), or None; BadInput beyond ``max_bytes``."""
        ...

    async def list(self, prefix: str) -> list[str]:
        """Keys that begin with the prefix, sorted."""
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
    """Bucket that references of the store at ``url`` carry."""
    parts = urlsplit(url)
    return parts.netloc if parts.scheme == "s3" else LOCAL_BUCKET


def check_key(key: str) -> str:
    """Return the key, or raise BadInput: one pattern, no empty or dot segments, decided before any call."""
    segments = key.split("/")
    if not KEY_PATTERN.fullmatch(key) or any(s in ("", ".", "..") for s in segments):
        shown = ascii(key if len(key) <= 80 else key[:77] + "...")
        raise BadInput(
            f"object key {shown}: refused; a key is 1-512 of a-z A-Z 0-9 . _ - in segments parted by single slashes, "
            "and begins with a small letter or digit"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix (empty, or the beginning of a key), or raise BadInput."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def check_ref(ref: ObjectRef, bucket: str, max_bytes: int) -> ObjectRef:
    """Return the reference, or raise BadInput: wrong bucket, key, hash or size; nothing was read."""
    check_key(ref.key)
    if ref.bucket != bucket:
        raise BadInput(f"object {ref.key}: is in bucket {ref.bucket!a}, this store is {bucket!r}")
    if not _SHA256.fullmatch(ref.sha256):
        raise BadInput(f"object {ref.key}: sha256 {ref.sha256[:80]!a} is not 64 hexadecimal digits")
    if not 0 <= ref.size <= max_bytes:
        raise BadInput(f"object {ref.key}: size {ref.size} is outside 0..{max_bytes} (TESSERA_OBJECT_BYTES)")
    return ref


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def content_key(digest: str) -> str:
    """Content-addressed key of a sha256."""
    return f"cas/sha256/{digest[:2]}/{digest[2:]}"


def make_ref(bucket: str, key: str, data: bytes, media_type: str) -> ObjectRef:
    """Reference of these bytes under this key."""
    return ObjectRef(bucket=bucket, key=key, sha256=sha256(data), size=len(data), media_type=media_type)


def verify(ref: ObjectRef, data: bytes) -> bytes:
    """Return the bytes, or raise CorruptObject naming the key and both sizes or hashes."""
    if len(data) != ref.size:
        raise CorruptObject(f"object {ref.key}: has {len(data)} bytes, its reference says {ref.size}", ref)
    actual = sha256(data)
    if actual != ref.sha256:
        raise CorruptObject(f"object {ref.key}: sha256 is {actual}, its reference says {ref.sha256}", ref)
    return data


def missing(ref: ObjectRef) -> CorruptObject:
    """Error for a reference to nothing; trying again does not help, since blobs are stored before references."""
    return CorruptObject(f"object {ref.key}: is not in the store", ref)


def restrict(store: ObjectStore, service: str) -> ObjectStore:
    """Wrap a store so that the service reads no ground truth but what ``READABLE_LABELS`` grants it."""
    if service not in READABLE_LABELS:
        raise BadInput(f"service {service!r}: has no read policy; add it to READABLE_LABELS")
    return _Restricted(store, service)


def may_read(service: str, key: str) -> bool:
    """Whether the service's policy lets it read the key."""
    labels = _LABELS.fullmatch(key)
    return labels is None or labels["split"] in READABLE_LABELS[service]


class _Restricted:
    def __init__(self, store: ObjectStore, service: str) -> None:
        self.bucket = store.bucket
        self._store = store
        self._service = service

    def _check(self, key: str) -> None:
        if not may_read(self._service, check_key(key)):
            raise BadInput(f"object {key}: permission denied, the {self._service} may not read these labels")

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        return await self._store.put(key, data, media_type)

    async def put_content(self, data: bytes, media_type: str) -> ObjectRef:
        return await self._store.put_content(data, media_type)

    async def get(self, ref: ObjectRef) -> bytes:
        self._check(ref.key)
        return await self._store.get(ref)

    async def path(self, ref: ObjectRef) -> Path:
        self._check(ref.key)
        return await self._store.path(ref)

    async def exists(self, key: str) -> ObjectRef | None:
        self._check(key)
        return await self._store.exists(key)

    async def read_key(self, key: str, max_bytes: int) -> bytes | None:
        self._check(key)
        return await self._store.read_key(key, max_bytes)

    async def list(self, prefix: str) -> list[str]:
        return [key for key in await self._store.list(prefix) if may_read(self._service, key)]

    async def check(self) -> str:
        return await self._store.check()
