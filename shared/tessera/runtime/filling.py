"""Measure how full NATS and the store are, for metrics; one process of a deployment is enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from tessera.errors import TesseraError
from tessera.runtime import metrics, topology
from tessera.runtime.messaging import Messaging
from tessera.runtime.method import Method
from tessera.runtime.objects import ObjectStore
from tessera.runtime.presence import Presence, Watch
from tessera.runtime.seldom import Seldom
from tessera.runtime.settings import Settings
from tessera.runtime.store_size import remembered

_log = logging.getLogger(__name__)
_SECONDS: Final = 10.0
_STORE_SECONDS: Final = 60.0


class Filling:
    """Looks every few seconds, for ever (``run``)."""

    def __init__(
        self, messaging: Messaging, store: ObjectStore, settings: Settings, methods: Iterable[Method], watch: Watch
    ) -> None:
        """``watch`` observes the queues of these methods."""
        self._messaging, self._store, self._settings = messaging, store, settings
        self._methods, self._watch = tuple(methods), watch
        self._seldom = Seldom(_log)
        self._store_at = 0.0

    async def run(self, seconds: float = _SECONDS) -> None:
        """Look for ever; while NATS does not answer, the last values stay."""
        while True:
            try:
                await self.look()
            except TesseraError as error:
                self._seldom.warning("how full NATS is cannot be measured", error=str(error))
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Measure once."""
        storage = await self._messaging.storage()
        metrics.gauge("jetstream_bytes", storage.used)
        metrics.gauge("jetstream_bytes_limit", storage.limit)
        names = [stream.name for stream in topology.streams(self._settings)]
        names += [f"KV_{bucket.name}" for bucket in topology.buckets(self._settings)]
        for name in names:
            messages, size = await self._messaging.rooms(name)
            metrics.gauge("stream_messages", messages.used, stream=name)
            metrics.gauge("stream_messages_limit", messages.limit, stream=name)
            metrics.gauge("stream_bytes", size.used, stream=name)
            metrics.gauge("stream_bytes_limit", size.limit, stream=name)
            if name == topology.DLQ:
                metrics.gauge("dead_letters", messages.used)
        for method in self._methods:
            await self._queue(method)
        if time.monotonic() >= self._store_at:
            await self._size()
            self._store_at = time.monotonic() + _STORE_SECONDS

    async def _size(self) -> None:
        metrics.gauge("store_bytes_limit", self._settings.store_quota_bytes or None)
        found = await remembered(self._store)
        if found is not None:
            metrics.gauge("store_bytes", found.bytes)
            metrics.gauge("store_objects", found.objects)
            metrics.gauge("store_measured_timestamp_seconds", found.time)

    async def _queue(self, method: Method) -> None:
        found = self._watch.presence(method.verb) or Presence(None, 0.0, False)
        queue = found.queue
        metrics.gauge("queue_waiting_jobs", queue.waiting if queue else None, method=method.name)
        metrics.gauge("queue_taken_jobs", queue.taken if queue else None, method=method.name)
        metrics.gauge("queue_unseen_seconds", found.unseen_seconds if queue else None, method=method.name)
        oldest = None
        if queue is not None and (queue.waiting or queue.taken):
            oldest = await self._messaging.oldest(topology.JOBS, topology.job_subject(method.verb))
        age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
        metrics.gauge("queue_oldest_seconds", max(age, 0.0) if queue else None, method=method.name)
