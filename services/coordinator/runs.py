"""RunsService: what clients ask of runs, answered from the book and written to the log."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from services.coordinator.book import Book
from tessera.errors import BadInput, Conflict
from tessera.loop import plan
from tessera.loop.entry import Entry
from tessera.loop.reducer import CANCELLED, DONE, FAILED, RUNNING
from tessera.loop.view import progress
from tessera.pb import runs_pb2 as pb
from tessera.runtime.events import EventLog

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_ENDED = (DONE, FAILED, CANCELLED)
_PROGRESS_SECONDS = 0.5


class Runs:
    """One method an RPC; every one may be called again with the same effect."""

    def __init__(self, log: EventLog, book: Book) -> None:
        self._log, self._book = log, book

    async def submit(self, request: pb.SubmitRunRequest) -> pb.SubmitRunResponse:
        """Start a run, or return the one that this id already names; BadInput if that is another run."""
        spec = request.spec
        if not _RUN_ID.fullmatch(spec.run_id):
            raise BadInput(f"run_id {spec.run_id!r}: use 1 to 128 letters, digits, _ and -")
        entry = self._book.entries.get(spec.run_id)
        if entry is None:
            plan.check(spec)
            event = pb.RunEvent(submitted=pb.RunSubmitted(spec=spec))
            with contextlib.suppress(Conflict):
                await self._log.append(spec.run_id, event, 0)
            entry = await self._book.reached(spec.run_id, 1)
        run = entry.view()
        if run.spec != spec:
            raise BadInput(
                f"run {spec.run_id}: the id is taken by a run of another recipe, data set or seed; use another"
            )
        return pb.SubmitRunResponse(run=run)

    async def get(self, request: pb.GetRunRequest) -> pb.GetRunResponse:
        """Return the state of a run."""
        return pb.GetRunResponse(run=self._entry(request.run_id).view())

    async def list(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        """Return the state of every run, without its rounds and shards, by id."""
        response = pb.ListRunsResponse()
        for _, entry in sorted(self._book.entries.items()):
            run = response.runs.add()
            run.CopyFrom(entry.view())
            del run.rounds[:]
            del run.shards[:]
        return response

    async def cancel(self, request: pb.CancelRunRequest) -> pb.CancelRunResponse:
        """Stop a run; resumable. A run that is done stays done."""
        entry = self._entry(request.run_id)
        reason = request.reason or "cancelled"
        event = pb.RunEvent(cancelled=pb.RunCancelled(reason=reason))
        await self._settle(entry, event, (RUNNING, FAILED))
        if entry.view().status == CANCELLED:
            # After the event: a crash in between leaves jobs that finish unused, never a run that waits for ever.
            await self._log.cancel(request.run_id, reason)
        return pb.CancelRunResponse(run=entry.view())

    async def resume(self, request: pb.ResumeRunRequest) -> pb.ResumeRunResponse:
        """Take a failed or cancelled run up where it stopped; a running or finished one is left alone."""
        entry = self._entry(request.run_id)
        if entry.view().status in (FAILED, CANCELLED):
            # Before the event: a job that is queued by it must not be dropped.
            await self._log.uncancel(request.run_id)
        await self._settle(entry, pb.RunEvent(resumed=pb.RunResumed()), (FAILED, CANCELLED))
        return pb.ResumeRunResponse(run=entry.view())

    async def watch(self, request: pb.WatchRunRequest) -> AsyncIterator[pb.WatchRunResponse]:
        """Yield the run at every change, and progress in between, until it has ended."""
        entry = self._entry(request.run_id)
        running: dict[str, tuple[float, str]] = {}
        listener = asyncio.create_task(self._listen(request.run_id, running))
        shown: tuple[int, float, str] | None = None
        try:
            while True:
                sequence, view = entry.sequence, entry.view()
                fraction, note = progress(entry.state, running)
                if shown != (sequence, fraction, note):
                    yield pb.WatchRunResponse(run=view, fraction=fraction, note=note)
                    shown = (sequence, fraction, note)
                if view.status in _ENDED:
                    return
                await self._book.wait(entry, sequence, _PROGRESS_SECONDS)
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, run_id: str, running: dict[str, tuple[float, str]]) -> None:
        async for told in self._log.progress(run_id):
            running[told.job_key] = (told.fraction, told.note)

    async def _settle(self, entry: Entry, event: pb.RunEvent, when: tuple[pb.RunStatus, ...]) -> None:
        """Append once the run is in one of the states ``when``; whoever appends first is followed by the others."""
        while entry.view().status in when:
            try:
                sequence = await self._log.append(entry.run_id, event, entry.log_sequence)
            except Conflict:
                sequence = entry.sequence + 1
            await self._book.reached(entry.run_id, sequence)

    def _entry(self, run_id: str) -> Entry:
        entry = self._book.entries.get(run_id)
        if entry is None:
            raise BadInput(f"run {run_id!r}: unknown; tessera status lists the runs")
        return entry
