"""Find messages past their deliveries in the queue itself, because advisories can be lost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tessera.runtime import topology
from tessera.runtime.dead_letters import PoisonReader
from tessera.runtime.messaging import Messaging

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
