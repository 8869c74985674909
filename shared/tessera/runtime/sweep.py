"""Find messages past their deliveries in the queue itself, because advisories can be lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Final

from tessera.errors import TesseraError
from tessera.runtime import topology
from tessera.runtime.dead_letters import PoisonReader
from tessera.runtime.messaging import Messaging
from tessera.runtime.records import Records
from tessera.runtime.seldom import Seldom
from tessera.runtime.settings import Settings

_log = logging.getLogger(__name__)
_MOST_LOOKED_AT: Final = 1000


class Sweep:
    """Finds messages of these methods past their deliveries, whether or not an advisory tells of them."""

    def __init__(self, messaging: Messaging, reader: PoisonReader, verbs: Iterable[str]) -> None:
        self._messaging = messaging
        self._reader = reader
        self._suspects: dict[str, set[int]] = {verb: set() for verb in verbs}

    async def look(self) -> int:
        """Settle messages that were undelivered in the previous search and still are; return their number.

        Two searches, because a cluster deletes a message some time after it was acknowledged.
        """
        settled = 0
        for verb, before in self._suspects.items():
            place = await self._messaging.consumed(topology.JOBS, topology.consumer_name(verb))
            now = await self._messaging.sequences(
                topology.JOBS, topology.job_subject(verb), place, at_most=_MOST_LOOKED_AT
            )
            found = set(now)
            for sequence in sorted(found & before):
                await self._reader.settle(sequence)
                settled += 1
            self._suspects[verb] = found - before
        return settled


async def settle(
    messaging: Messaging, records: Records, settings: Settings, draining: asyncio.Event, verbs: Iterable[str]
) -> None:
    """Settle messages that the server no longer delivers, until ``draining``: those that advisories name, of any
    method, and those of ``verbs`` that a sweep finds.
    """
    reader = PoisonReader(messaging, records, settings.max_attempts)
    sweep, period = Sweep(messaging, reader, verbs), settings.sweep_seconds
    seldom, next_look = Seldom(_log), time.monotonic() + period
    pull = await messaging.bind(topology.ADVISORIES, topology.POISON)
    while not draining.is_set():
        try:
            advisory = await pull.fetch(min(settings.fetch_expires, 5.0))
            if advisory is not None:
                await reader.handle(advisory)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + period
                await sweep.look()
        except TesseraError as error:
            seldom.warning("messages that the server no longer delivers cannot be searched", error=str(error))
    await pull.close()
