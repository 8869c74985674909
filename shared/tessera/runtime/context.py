"""Give a job verified reads, computation in a child, and uploads before the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from tessera.errors import TesseraError
from tessera.pb.common_pb2 import ImageRange, ObjectRef
from tessera.runtime import failpoints, tracing
from tessera.runtime.checkpoints import Checkpoints
from tessera.runtime.child import Keeping
from tessera.runtime.method import Method
from tessera.runtime.objects import ObjectStore
from tessera.runtime.pool import ComputePool, WrittenBlob

_PARALLEL: Final = 4
_PROGRESS_SECONDS: Final = 0.5
_T = TypeVar("_T")
_R = TypeVar("_R")

OnProgress = Callable[[float, str], None]


class JobContext:
    """Context of one attempt at one job; ``store`` already carries the service's read policy."""

    def __init__(
        self,
        method: Method,
        store: ObjectStore,
        pool: ComputePool,
        on_progress: OnProgress | None = None,
        checkpoints: Checkpoints | None = None,
        keep_seconds: float = 0.0,
    ) -> None:
        """With ``checkpoints`` the computation goes on from the newest one, and keeps another every
        ``keep_seconds``."""
        self.compute_seconds = 0.0
        """Seconds inside compute functions so far."""
        self.images_per_second = 0.0
        """Speed of the training, where this is one."""
        self.wrote: list[str] = []
        """SHA-256 of the objects that compute functions wrote so far, each once."""
        self._method = method
        self._store = store
        self._pool = pool
        self._on_progress = on_progress
        self._told = 0.0
        self._checkpoints = checkpoints
        self._keep_seconds = keep_seconds

    async def fetch(self, ref: ObjectRef) -> bytes:
        """Return the verified bytes of a small object."""
        return await self._store.get(ref)

    async def compute(self, request: Message, reads: Iterable[ObjectRef]) -> Message:
        """Verify ``reads``, run the method's ``compute`` in a child, upload what it wrote, return its response."""
        wanted = list({ref.sha256: ref for ref in reads}.values())
        with tracing.span("read", objects=len(wanted)):
            paths: list[Path] = await _each(self._store.path, wanted)
        keeping = None
        if self._checkpoints is not None:
            keeping = Keeping(self._keep_seconds, await self._checkpoints.earlier(), self._checkpoints.keep)
        try:
            result = await self._pool.run(
                self._method.function,
                request,
                self._method.response,
                {ref.sha256: path for ref, path in zip(wanted, paths, strict=True)},
                threads=self._method.threads,
                timeout=self._method.timeout_seconds,
                on_progress=self._progress,
                affinity=self._affinity(request),
                keeping=keeping,
            )
        except Exception:
            if self._checkpoints is not None:
                # The next attempt goes on from the newest; after a failure a person may look into it.
                await self._checkpoints.settle()
            raise
        try:
            self.compute_seconds += result.compute_seconds
            self.images_per_second = result.images_per_second
            failpoints.reached("computed")
            with tracing.span("write", objects=len(result.blobs), bytes=sum(blob.size for blob in result.blobs)):
                await _each(self._upload, result.blobs)
            self.wrote = list(dict.fromkeys([*self.wrote, *(blob.sha256 for blob in result.blobs)]))
            failpoints.reached("blobs")
            return result.response
        finally:
            result.discard()

    async def _upload(self, blob: WrittenBlob) -> None:
        data = await asyncio.to_thread(blob.path.read_bytes)
        ref = await self._store.put(blob.key, data, blob.media_type)
        if ref.sha256 != blob.sha256:
            raise TesseraError(f"object {blob.key}: what the child wrote changed before it was stored")

    def _affinity(self, request: Message) -> str:
        """Return a name for the data that a warm child may still hold.

        For a request with a network, its images, whatever the method and the weights: with a frozen backbone their maps
        outlive a round. For other requests the method, whose caches are in the child that ran it last.
        """
        asked: Any = request
        part = images_of(asked) if hasattr(asked, "model") and asked.model.weights.sha256 else None
        if part is None:
            return self._method.name
        return f"{asked.manifest.sha256}:{part.split}:{part.start}:{part.end}"

    def _progress(self, fraction: float, note: str) -> None:
        now = time.monotonic()
        if self._on_progress is not None and (now - self._told >= _PROGRESS_SECONDS or fraction >= 1):
            self._told = now
            self._on_progress(fraction, note)


def images_of(request: Any) -> ImageRange | None:
    """Return the range of images that a request is about, None if it names several or none."""
    parts = (request, getattr(request, "shard", None), *getattr(request, "shards", ()))
    ranges: list[ImageRange] = [part.images for part in parts if hasattr(part, "images")]
    return ranges[0] if len(ranges) == 1 else None


async def _each(function: Callable[[_T], Awaitable[_R]], values: Iterable[_T]) -> list[_R]:
    """Apply to every value, a few at a time, and keep the order; the first error cancels the rest."""
    slots = asyncio.Semaphore(_PARALLEL)

    async def one(value: _T) -> _R:
        async with slots:
            return await function(value)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(value)) for value in values]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
