"""Blobs and Context in one, on a dictionary: run a method's reads and compute without a process."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from google.protobuf.message import Message

from tessera.formats import keys
from tessera.formats.manifests import ImageItem
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.method import Method


class MemoryBlobs:
    """Gives a computation only the reads that its method names, so that a forgotten reference fails the test."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.allowed: set[str] | None = None
        """Hashes that may be read; None outside of `perform`: all."""
        self.reads: list[str] = []
        """Hashes that were read, in order; `perform` starts it anew."""
        self.keeps, self.kept = False, None
        """Whether computations may keep checkpoints, and the newest; the next one goes on from it."""
        self.notes: list[tuple[float, str]] = []
        self.images_per_second = 0.0
        """Speed that the newest training reported."""
        self.items: list[ImageItem] = []
        """Images of train, where a test has some."""

    def read(self, ref: ObjectRef) -> bytes:
        assert self.allowed is None or ref.sha256 in self.allowed, f"{ref.key} is not among the reads of the method"
        self.reads.append(ref.sha256)
        return self.objects[ref.sha256]

    def write(self, data: bytes, media_type: str = "application/octet-stream") -> ObjectRef:
        digest = hashlib.sha256(data).hexdigest()
        self.objects[digest] = data
        return ObjectRef(bucket="b", key=keys.cas(digest), sha256=digest, size=len(data), media_type=media_type)

    def earlier(self) -> bytes | None:
        return self.kept

    def due(self) -> bool:
        return self.keeps

    def keep(self, data: bytes) -> None:
        self.kept = data

    def progress(self, fraction: float, note: str = "") -> None:
        assert 0 <= fraction <= 1
        self.notes.append((fraction, note))

    def speed(self, images_per_second: float) -> None:
        self.images_per_second = images_per_second

    async def fetch(self, ref: ObjectRef) -> bytes:
        return self.objects[ref.sha256]

    async def get(self, ref: ObjectRef) -> bytes:
        return self.objects[ref.sha256]

    async def put_content(self, data: bytes, media_type: str) -> ObjectRef:
        return self.write(data, media_type)

    async def perform(self, method: Method, request: Message) -> Any:
        """Return the method's response, by its reads and its compute function."""
        reads = await method.reads(request, self)
        self.allowed, self.reads = {ref.sha256 for ref in reads}, []
        assert self.allowed <= set(self.objects), "a read is not in the store"
        try:
            made = method.compute(request, self)
            assert isinstance(made, method.response)
            return made
        finally:
            self.allowed = None


def served(service: str) -> SimpleNamespace:
    """The methods of a service by verb: ``response = await served("scorer").score(request, store)``."""

    def bound(method: Method) -> Callable[[Message, MemoryBlobs], Awaitable[Any]]:
        return lambda request, store: store.perform(method, request)

    methods: tuple[Method, ...] = importlib.import_module(f"services.{service}.handler").METHODS
    return SimpleNamespace(**{method.verb: bound(method) for method in methods})
