"""What this process has read of the event log: the state of every run, and who waits for it to change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from tessera.errors import Unavailable
from tessera.loop.reducer import RunState, fold
from tessera.loop.view import view as picture
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.pb.runs_pb2 import RUN_STATUS_DONE, RUN_STATUS_RUNNING, RunEvent, RunView
from tessera.runtime.events import Logged, Progress

_FROM_WORKERS = ("job_done", "job_failed")


class Log(Protocol):
    """What the coordinator needs of ``runtime.events.EventLog``."""

    async def append(self, run_id: str, event: RunEvent, expected_last_sequence: int) -> int:
        """Append under optimistic concurrency; Conflict."""
        ...

    async def read(self, run_id: str) -> list[tuple[int, RunEvent]]:
        """Read every event of a run with its sequence."""
        ...

    async def run_ids(self) -> list[str]:
        """List every run that has events."""
        ...

    def follow(self, run_id: str | None = None, from_sequence: int = 1) -> AsyncIterator[Logged]:
        """Follow events from a sequence on, for ever."""
        ...

    async def dispatch(self, envelope: JobEnvelope, nonce: str = "") -> bool:
        """Queue a job once."""
        ...

    async def cancel(self, run_id: str, reason: str) -> None:
        """Make workers drop the jobs of a run."""
        ...

    async def uncancel(self, run_id: str) -> None:
        """Undo ``cancel``."""
        ...

    def progress(self, run_id: str) -> AsyncIterator[Progress]:
        """Follow progress of running jobs."""
        ...


@dataclass
class Entry:
    """One run as far as it has been read."""

    run_id: str
    # None once the run is done, which is for ever: its picture is enough.
    state: RunState | None = field(default_factory=RunState)
    # Sequence of the last event, and of the last one that a coordinator wrote.
    sequence: int = 0
    log_sequence: int = 0
    # Sequence of the last RunResumed: a job that is queued again must not pass for a duplicate.
    resumed: int = 0
    _view: RunView | None = None

    @property
    def running(self) -> bool:
        """Whether there is anything to decide."""
        return self.state is not None and self.state.status == RUN_STATUS_RUNNING

    def take(self, events: list[tuple[int, RunEvent]]) -> bool:
        """Fold events that are new to this entry; whether there were any."""
        fresh = [(sequence, event) for sequence, event in events if sequence > self.sequence]
        if not fresh or self.state is None:
            return False
        self.state = fold(self.state, (event for _, event in fresh))
        for sequence, event in fresh:
            self.sequence = sequence
            if event.WhichOneof("kind") not in _FROM_WORKERS:
                self.log_sequence = sequence
            if event.HasField("resumed"):
                self.resumed = sequence
        self._view = None
        if self.state.status == RUN_STATUS_DONE:
            self.view()
            self.state = None
        return True

    def view(self) -> RunView:
        """The run's public picture; made once a change."""
        if self._view is None:
            assert self.state is not None  # noqa: S101  # the state is dropped only when the picture is kept
            self._view = picture(self.state)
        return self._view


class Book:
    """All runs that this process knows of."""

    def __init__(self, log: Log) -> None:
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
