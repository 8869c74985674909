"""Blobs and Context in one, on a dictionary: a handler and its compute function together, without a process."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable

from google.protobuf.message import Message

from tessera.formats import keys
from tessera.formats.manifests import ImageItem
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.method import Answer


class MemoryBlobs:
    """Hands a computation only what the handler named, so that a reference forgotten in a handler fails the test."""

    job_key, attempt = "0" * 64, 1

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.allowed: set[str] | None = None
        """Hashes that may be read; None outside of `compute`: all."""
        self.reads: list[str] = []
        """Hashes that were read, in order; `compute` starts it anew."""
        self.notes: list[tuple[float, str]] = []
        self.items: list[ImageItem] = []
        """Images of train, where a test has some."""

    def read(self, ref: ObjectRef) -> bytes:
        assert self.allowed is None or ref.sha256 in self.allowed, f"{ref.key} was not named by the handler"
        self.reads.append(ref.sha256)
        return self.objects[ref.sha256]

    def write(self, data: bytes, media_type: str = "application/octet-stream") -> ObjectRef:
        digest = hashlib.sha256(data).hexdigest()
        self.objects[digest] = data
        return ObjectRef(bucket="b", key=keys.cas(digest), sha256=digest, size=len(data), media_type=media_type)

    def progress(self, fraction: float, note: str = "") -> None:
        assert 0 <= fraction <= 1
        self.notes.append((fraction, note))

    async def fetch(self, ref: ObjectRef) -> bytes:
        return self.objects[ref.sha256]

    async def compute(
        self, function: str, request: Message, reads: Iterable[ObjectRef], response: type[Answer]
    ) -> Answer:
        module, _, name = function.partition(":")
        self.allowed, self.reads = {ref.sha256 for ref in reads}, []
        assert self.allowed <= set(self.objects), "the handler named what is not in the store"
        try:
            made = getattr(importlib.import_module(module), name)(request, self)
            assert isinstance(made, response)
            return made
        finally:
            self.allowed = None
