"""What this process has read of the event log: the state of every run, and who waits for it to change."""

from __future__ import annotations

import asyncio

from tessera.errors import Unavailable
from tessera.loop.entry import Entry
from tessera.pb.runs_pb2 import RunEvent
from tessera.runtime.events import EventLog


class Book:
    """All runs that this process knows of."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.entries: dict[str, Entry] = {}
        self._changed = asyncio.Condition()

    async def open(self) -> int:
        """Read every run to its end; returns a sequence from which following the log misses nothing."""
        start = 1
        for run_id in await self._log.run_ids():
            events = await self._log.read(run_id)
            # Whatever these reads miss is newer than the newest run that was listed before them.
            start = max(start, events[0][0] if events else 1)
            await self.take(run_id, events)
        return start

    async def take(self, run_id: str, events: list[tuple[int, RunEvent]]) -> Entry:
        """Fold events of one run, whether or not they are known already."""
        entry = self.entries.setdefault(run_id, Entry(run_id))
        if entry.take(events):
            async with self._changed:
                self._changed.notify_all()
        return entry

    async def reached(self, run_id: str, sequence: int, seconds: float = 10.0) -> Entry:
        """Wait until a run has been read up to ``sequence``; Unavailable when the log does not deliver it."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(
                    lambda: run_id in self.entries and self.entries[run_id].sequence >= sequence
                )
        except TimeoutError:
            raise Unavailable(f"run {run_id}: its event log does not answer; try again") from None
        return self.entries[run_id]

    async def wait(self, entry: Entry, sequence: int, seconds: float) -> None:
        """Wait until an entry has been read past ``sequence``, but not longer than ``seconds``."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: entry.sequence > sequence)
        except TimeoutError:
            return
