"""References to images that stay where they are: outside the store, in a bucket or a folder of the user.

The bucket of such a reference is ``s3://BUCKET`` or ``file://``, which no bucket of a store is called; its key is the
object's whole key, or an absolute path. Keys of a store are of few characters; these are as they were found.
"""

from __future__ import annotations

import re
from typing import Final

from tessera.errors import BadInput
from tessera.pb.common_pb2 import ObjectRef

S3: Final = "s3://"
FILE: Final = "file://"
MAX_KEY: Final = 1024
"""Bytes of UTF-8: the limit of S3."""

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def is_outside(ref: ObjectRef) -> bool:
    """Return whether a reference leads out of the store."""
    return ref.bucket.startswith((S3, FILE))


def check_outside(ref: ObjectRef, where: str) -> ObjectRef:
    """Return a reference that leads out of the store; BadInput for a bucket, key or path that cannot be one."""
    bucket, key = ref.bucket, ref.key
    problem = unusable(key)
    if problem:
        raise BadInput(f"{where}: {key[:80]!a} {problem}; rename the file and import it again")
    if bucket == FILE:
        if not key.startswith("/") or any(part in (".", "..") for part in key.split("/")):
            raise BadInput(f"{where}: {key[:80]!a} is no absolute path; import the data set again")
    elif not _BUCKET.match(bucket.removeprefix(S3)):
        raise BadInput(f"{where}: {bucket[:80]!a} is no bucket; write s3://BUCKET and import the data set again")
    return ref


def unusable(key: str) -> str:
    """Return why a name cannot be referred to; "" where it can."""
    if _CONTROL.search(key):
        return "has a control character or bytes that are no UTF-8 in its name"
    if not 1 <= len(key.encode()) <= MAX_KEY:
        return f"has a name of 0 or of more than {MAX_KEY} bytes"
    return ""


def address(ref: ObjectRef) -> str:
    """Return ``s3://bucket/key`` or the path."""
    return ref.key if ref.bucket == FILE else f"{ref.bucket}/{ref.key}"
