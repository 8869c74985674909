"""Keep the state of every run as read from the event log, and wake readers when it changes.

Folding, and making pictures of runs, is done in a thread: with millions of images it takes seconds, and the calls of
other clients and the heartbeat of the connection must not wait for it.
"""

from __future__ import annotations

import asyncio
import logging

from tessera.errors import Unavailable
from tessera.loop.entry import FROM_WORKERS, Events, Folded, RunEntry, unreadable
from tessera.loop.reducer import RunState, fold
from tessera.loop.view import view as picture
from tessera.pb.runs_pb2 import RunEvent, RunView
from tessera.runtime import step_keys
from tessera.runtime.events import EventLog

_log = logging.getLogger(__name__)
_STORE_PAUSE = 1.0


class Book:
    """All runs that this process knows."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.entries: dict[str, RunEntry] = {}
        self._changed = asyncio.Condition()
        self._whole: tuple[str, int, RunState] | None = None

    async def open(self) -> int:
        """Read every run to its end; returns a sequence from which following the log misses nothing."""
        # Before the runs are listed, so that events which these reads miss are newer.
        position = await self._log.position()
        for run_id in await self._log.restore():
            _log.warning("an archived run was named again", extra={"run": run_id})
        for run_id in await self._log.run_ids():
            async for events in self._log.scan(run_id, packed=True):
                await self.take(run_id, events)
        return position + 1

    async def take(self, run_id: str, events: Events) -> RunEntry:
        """Fold events of one run, whether or not they are known already; one caller at a time."""
        if any(event.HasField("forgotten") for _, event in events):
            async with self._changed:
                self._changed.notify_all()
                return self.entries.pop(run_id, None) or RunEntry(run_id)
        if run_id not in self.entries and all(event.WhichOneof("kind") in FROM_WORKERS for _, event in events):
            # Late events of workers on a run that was given up.
            return RunEntry(run_id)
        entry = self.entries.setdefault(run_id, RunEntry(run_id))
        if entry.wakes(events):
            try:
                state, last = await self._read(run_id)
                entry.restart(state, last)
            except Unavailable:
                raise
            except Exception as error:
                # An error in one run fails that run alone.
                _log.exception("a run cannot be read", extra={"run": run_id})
                entry.settle(Folded(events, None, None, unreadable(error)))
        else:
            whole = [(sequence, await self._unpack(event)) for sequence, event in events if sequence > entry.sequence]
            folded = await asyncio.to_thread(entry.fold, whole)
            if folded is None:
                return entry
            entry.settle(folded)
        async with self._changed:
            self._changed.notify_all()
        return entry

    async def _unpack(self, event: RunEvent) -> RunEvent:
        """Fill in a step's job keys; wait for a store that is away, because nothing can be decided without them."""
        while step_keys.is_packed(event):
            try:
                event = await self._log.unpack(event)
            except Unavailable as error:
                _log.warning("waiting for the keys of a step", extra={"error": str(error)})
                await asyncio.sleep(_STORE_PAUSE)
        return event

    async def _read(self, run_id: str) -> tuple[RunState, Events]:
        """Fold the whole log of a run, archived or not; also returns its last event of each kind."""
        state = RunState()
        last: dict[str | None, tuple[int, RunEvent]] = {}
        async for events in self._log.scan(run_id):
            state = await asyncio.to_thread(fold, state, [event for _, event in events])
            for one in events:
                kind = one[1].WhichOneof("kind")
                last[kind] = max(last.get(kind, one), one, key=lambda found: found[0])
        return state, list(last.values())

    async def view(self, entry: RunEntry) -> RunView:
        """Return a run's public picture."""
        if entry.archive is not None and not entry.broken:
            return await asyncio.to_thread(picture, await self.whole(entry))
        state = entry.state
        return entry.hang(state, await asyncio.to_thread(entry.draft()))

    async def head(self, entry: RunEntry) -> RunView:
        """Return a run's public picture from memory, which may lack its rounds."""
        return entry.view() if entry.archive is not None else await self.view(entry)

    async def whole(self, entry: RunEntry) -> RunState:
        """Return a run's state; read its log again if only its picture was kept, and keep the last such state."""
        if entry.state is not None:
            return entry.state
        if self._whole is None or self._whole[:2] != (entry.run_id, entry.sequence):
            sequence = entry.sequence
            self._whole = (entry.run_id, sequence, (await self._read(entry.run_id))[0])
        return self._whole[2]

    async def reached(self, run_id: str, sequence: int, seconds: float = 10.0) -> RunEntry:
        """Wait until a run has been read up to ``sequence``; Unavailable when the log does not deliver it."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(
                    lambda: run_id in self.entries and self.entries[run_id].sequence >= sequence
                )
        except TimeoutError:
            raise Unavailable(f"run {run_id}: its event log does not answer; try again") from None
        return self.entries[run_id]

    def known(self, run_id: str) -> bool:
        """Return whether there is such a run."""
        return run_id in self.entries

    def goes_on(self, run_id: str) -> bool:
        """Return whether a run is neither over nor stopped."""
        entry = self.entries.get(run_id)
        return entry is not None and entry.running

    def show(self, run_id: str, text: str) -> None:
        """Say in a run's picture what it waits for."""
        if self.goes_on(run_id):
            self.entries[run_id].people = text

    async def pictures(self, seen: dict[str, int]) -> list[RunView]:
        """Return the runs about which something was decided since the sequences in ``seen``; bring these up to date.

        Not at every end of a job, because a picture takes time; archived runs ended long ago.
        """
        known = [one for one in self.entries.values() if one.archive is None and not one.trouble]
        changed = [one for one in known if seen.get(one.run_id) != one.log_sequence]
        seen.update({one.run_id: one.log_sequence for one in changed})
        return [await self.view(one) for one in changed]

    async def wait(self, entry: RunEntry, sequence: int, seconds: float) -> None:
        """Wait until an entry has been read past ``sequence``, but not longer than ``seconds``."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: entry.sequence > sequence)
        except TimeoutError:
            return
