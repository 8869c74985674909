"""Whether a worker serves a method's queue.

A worker that is free has a request waiting at the consumer. One that computes may have none, but sends heartbeats for
the job it holds (at least one in ``ack_wait`` seconds, or it would lose the job). Messages held by a dead worker stay
"taken" for ever when nobody asks for them, so their number proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tessera.errors import TesseraError
from tessera.runtime import topology
from tessera.runtime.messaging import Messaging
from tessera.runtime.streams import QueueState

_log = logging.getLogger(__name__)
_GAP_SECONDS = 2.0
"""Seconds for which a free worker may have no waiting request, between two of them."""
_LOOKS = 8


@dataclass(frozen=True)
class Presence:
    """One method's queue (None: it is gone from NATS), seconds since a sign of a worker, and whether that is too long.

    The longest that a worker can be silent is ``ack_wait``.
    """

    queue: QueueState | None
    unseen_seconds: float
    absent: bool


class Watch:
    """Observes the queues of some methods every few seconds, for ever (``run``)."""

    def __init__(self, messaging: Messaging, verbs: Iterable[str], ack_wait: float, period: float = 2.0) -> None:
        self._messaging, self._ack_wait, self._period = messaging, ack_wait, period
        self._seen = dict.fromkeys(verbs, time.monotonic())
        self._queues: dict[str, QueueState | None] = {}
        self._listening: dict[str, asyncio.Task[None]] = {}

    def presence(self, verb: str) -> Presence | None:
        """Return the last observation of a method; None before the first."""
        if verb not in self._queues:
            return None
        unseen = time.monotonic() - self._seen[verb]
        return Presence(self._queues[verb], unseen, unseen > self._ack_wait + self._period)

    async def run(self) -> None:
        """Observe the queues for ever; silence of the server is no sign that a worker is missing."""
        try:
            while True:
                for verb in self._seen:
                    await self._look(verb)
                await asyncio.sleep(self._period)
        finally:
            for task in self._listening.values():
                task.cancel()

    async def _look(self, verb: str) -> None:
        try:
            queue = await self._messaging.queue(topology.JOBS, topology.consumer_name(verb))
        except TesseraError as error:
            _log.debug("queues cannot be observed", extra={"error": str(error)})
            # No worker can be seen while NATS is away.
            self._seen = dict.fromkeys(self._seen, time.monotonic())
            return
        self._queues[verb] = queue
        if queue is not None and queue.requests:
            self._seen[verb] = time.monotonic()
        await self._listen(verb, queue is not None and not queue.requests and queue.taken > 0)

    async def _listen(self, verb: str, wanted: bool) -> None:
        """Listen for heartbeats, only while waiting requests do not prove a worker: heartbeats are many."""
        running = self._listening.get(verb)
        if wanted and (running is None or running.done()):
            self._listening[verb] = asyncio.create_task(self._hear(verb), name=f"signs of {verb}")
        elif not wanted and running is not None:
            del self._listening[verb]
            running.cancel()

    async def _hear(self, verb: str) -> None:
        with contextlib.suppress(TesseraError):
            async for _ in self._messaging.signs_of_life(topology.JOBS, topology.consumer_name(verb)):
                self._seen[verb] = time.monotonic()


async def look(messaging: Messaging, verb: str, ack_wait: float) -> Presence:
    """Observe one method once: up to 2 s if no worker asks for jobs, up to ``ack_wait`` if jobs are taken."""
    began = time.monotonic()
    name = topology.consumer_name(verb)
    queue = await messaging.queue(topology.JOBS, name)
    for _ in range(_LOOKS):
        if queue is None or queue.requests:
            break
        await asyncio.sleep(_GAP_SECONDS / _LOOKS)
        queue = await messaging.queue(topology.JOBS, name)
    heard = queue is not None and not queue.requests and queue.taken and await _hears(messaging, name, ack_wait)
    present = queue is not None and (queue.requests > 0 or bool(heard))
    return Presence(queue, 0.0 if present else time.monotonic() - began, not present)


async def _hears(messaging: Messaging, name: str, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), contextlib.aclosing(messaging.signs_of_life(topology.JOBS, name)) as signs:
            async for _ in signs:
                return True
    return False
