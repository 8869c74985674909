"""Keys of objects and references to them: how they are made and checked, and bytes verified against them."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from tessera.errors import BadInput, CorruptObject
from tessera.pb.common_pb2 import ObjectRef

KEY_PATTERN: Final = re.compile(r"[a-z0-9][a-zA-Z0-9._/-]{0,511}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
Bodies = list[bytes | None]
"""Contents of keys, None for one that is not there. By this name: in a store's class, list is a method."""
LOCAL_BUCKET: Final = "local"
"""Bucket name in references of ``file://`` stores: the folder may move, the references stay valid."""


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
    return check_digest(ref, max_bytes)


def check_digest(ref: ObjectRef, max_bytes: int) -> ObjectRef:
    """Return the reference, or raise BadInput: its hash or size cannot be one."""
    if not _SHA256.fullmatch(ref.sha256):
        raise BadInput(f"object {ref.key}: sha256 {ref.sha256[:80]!a} is not 64 hexadecimal digits")
    if not 0 <= ref.size <= max_bytes:
        raise BadInput(f"object {ref.key}: size {ref.size} is outside 0..{max_bytes} (TESSERA_OBJECT_BYTES)")
    return ref


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def content_key(digest: str) -> str:
    """Return the content-addressed key of a sha256."""
    return f"cas/sha256/{digest[:2]}/{digest[2:]}"


def make_ref(bucket: str, key: str, data: bytes, media_type: str) -> ObjectRef:
    """Return the reference of these bytes under this key."""
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
    """Return the error for a missing object; a retry does not help, because blobs are stored before references."""
    return CorruptObject(f"object {ref.key}: is not in the store", ref)


class StoredObject(NamedTuple):
    """An object in a store; ``modified``: seconds since 1970 by the store's clock."""

    key: str
    size: int
    modified: float


Listed = list[StoredObject]


class Seen(NamedTuple):
    """A file or an object of somebody else; ``stamp`` changes with its content (ETag, or size and time)."""

    name: str
    size: int
    stamp: str


def is_hidden(seen: Seen) -> bool:
    """Return whether a file, or a folder that it is in, begins with a dot: such files do not count."""
    return any(part.startswith(".") for part in seen.name.split("/"))
