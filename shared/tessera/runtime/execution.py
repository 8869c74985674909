"""Find the result of a job, or compute and commit it: the same steps behind both doors."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable

from google.protobuf.message import Message

from tessera.loop.responses import DIGEST_BYTES, references
from tessera.pb.jobs_pb2 import JobEnvelope, JobRecord
from tessera.runtime import envelopes, observing, tracing
from tessera.runtime.activity import Activity
from tessera.runtime.checkpoints import Checkpoints
from tessera.runtime.context import JobContext, OnProgress, images_of
from tessera.runtime.jobkeys import job_key
from tessera.runtime.method import Method
from tessera.runtime.objects import ObjectStore
from tessera.runtime.pool import ComputePool
from tessera.runtime.records import Records

_log = logging.getLogger(__name__)
Ask = Callable[[Method, Message], Awaitable[bytes]]


class Execution:
    """Runs requests of methods to their committed records; the same for gRPC and JetStream.

    ``store_of`` gives the store with the read policy of a method's service. ``ask`` has somebody else compute: it
    returns the response's bytes, and the pool stays idle.
    """

    def __init__(
        self,
        records: Records,
        pool: ComputePool,
        store_of: Callable[[Method], ObjectStore],
        worker: str,
        keep_seconds: float = 30.0,
        ask: Ask | None = None,
    ) -> None:
        self.records = records
        self.activity = Activity()
        self._pool = pool
        self._store_of = store_of
        self._worker = worker
        self._keep_seconds = keep_seconds
        self._ask = ask
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def request_of(self, method: Method, envelope: JobEnvelope, limit: int) -> bytes:
        """Return the serialized request of a job, read with the policy of the method's service."""
        return await envelopes.request_of(envelope, self._store_of(method), limit)

    async def perform(
        self,
        method: Method,
        request: Message,
        attempt: int = 1,
        on_progress: OnProgress | None = None,
        distrusted: str = "",
    ) -> JobRecord:
        """Return the record of this request, computing it if there is none; equal requests wait for each other.

        ``distrusted`` names a record (``responses.digest``) that does not count.
        """
        key = job_key(method.name, method.algorithm, request)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            found = await self.records.find(method.name, key, algorithm=method.algorithm, distrusted=distrusted)
            if found is not None:
                return found
            started = time.monotonic()
            checkpoints = Checkpoints(self._store_of(method), key, distrusted) if method.checkpoints else None
            made = await self._computed(method, request, on_progress, checkpoints)
            made.job_key, made.method, made.algorithm = key, method.name, method.algorithm
            made.worker, made.attempt = self._worker, attempt
            made.job_seconds = time.monotonic() - started
            with tracing.span("commit"):
                record = await self.records.commit(made, distrusted)
            part = images_of(request)
            images = part.end - part.start if part is not None else 0
            observing.computed(method.name, made.compute_seconds, images, made.images_per_second)
            if checkpoints is not None:
                await checkpoints.forget()
            return record

    async def _computed(
        self, method: Method, request: Message, on_progress: OnProgress | None, checkpoints: Checkpoints | None
    ) -> JobRecord:
        """Return a record of the response, of how long it took, and of the objects that were written."""
        if self._ask is not None:
            started = time.monotonic()
            response = await self._ask(method, request)
            return JobRecord(response=response, compute_seconds=time.monotonic() - started)
        store = self._store_of(method)
        context = JobContext(method, store, self._pool, on_progress, checkpoints, self._keep_seconds)
        answer = await context.compute(request, await method.reads(request, context))
        named = {ref.sha256 for ref in references(answer)}
        return JobRecord(
            response=answer.SerializeToString(deterministic=True),
            compute_seconds=context.compute_seconds,
            images_per_second=context.images_per_second,
            wrote=b"".join(bytes.fromhex(one)[:DIGEST_BYTES] for one in context.wrote if one not in named),
        )
