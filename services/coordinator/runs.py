"""RunsService: calls of clients about runs, answered from the book and written to the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from services.coordinator.book import Book
from tessera.errors import BadInput, Conflict
from tessera.loop import growing, healing, people, plan, requests
from tessera.loop.entry import RunEntry
from tessera.loop.reducer import CANCELLED, DONE, FAILED, RUNNING, RunState
from tessera.loop.view import changes, is_done, objects, progress
from tessera.pb import runs_pb2 as pb
from tessera.runtime import topology
from tessera.runtime.events import EventLog
from tessera.runtime.setting_aside import Contents, completed

_ENDED = (DONE, FAILED, CANCELLED)
_PROGRESS_SECONDS, _BETWEEN_SECONDS = 0.5, 0.2
_PAGE_BYTES, _PAGE_OBJECTS = 1 << 20, 4096


class Runs:
    """One method per RPC; each may be called again with the same effect."""

    def __init__(self, log: EventLog, book: Book, store: Contents) -> None:
        """``store`` has the data sets of runs whose evaluation set is still to be set aside."""
        self._log, self._book, self._store = log, book, store
        self._paged: tuple[RunState, str, int, Sequence[Any]] | None = None

    async def submit(self, request: pb.SubmitRunRequest) -> pb.SubmitRunResponse:
        """Start a run, or return the one that this id already names; BadInput if that is another run.

        A run whose data set has grown since stays that run: it goes on as it began, and the response says so. That
        holds for a run that only the store knows, too.
        """
        spec = request.spec
        topology.run_token(spec.run_id)
        entry = self._book.entries.get(spec.run_id)
        if entry is None or (entry.trouble and not entry.broken):
            # Also where the log has lost its start: it gets a new one.
            spec = await completed(self._store, requests.recipe_of(spec), spec)
            kept = await self._log.kept(spec.run_id)
            begun = kept if kept is not None and growing.same_run(kept, spec) else spec
            plan.check(begun)
            await self._log.keep(begun)
            event = pb.RunEvent(submitted=pb.RunSubmitted(spec=begun))
            sequence = entry.sequence + 1 if entry else 1
            with contextlib.suppress(Conflict):
                await self._log.append(spec.run_id, event, entry.log_sequence if entry else 0)
            entry = await self._book.reached(spec.run_id, sequence)
        run = await self._book.view(entry)
        if run.spec != spec:
            spec = await completed(self._store, requests.recipe_of(spec), spec)
        if run.spec == spec:
            return pb.SubmitRunResponse(run=run)
        if not growing.same_run(run.spec, spec):
            raise BadInput(
                f"run {spec.run_id}: the id is taken by a run of another recipe, data set or seed; use another id"
            )
        return pb.SubmitRunResponse(run=run, note=growing.stays(run, spec))

    async def get(self, request: pb.GetRunRequest) -> pb.GetRunResponse:
        """Return the state of a run."""
        entry = self._entry(request.run_id)
        return pb.GetRunResponse(run=_with_wait(entry, await self._book.view(entry)))

    async def list(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        """Return the state of runs, without their rounds, by id: from ``page_token`` on, as many as fit a page."""
        response, size = pb.ListRunsResponse(), 0
        for run_id, entry in sorted(self._book.entries.items()):
            if run_id < request.page_token:
                continue
            if size >= _PAGE_BYTES:
                response.next_page_token = run_id
                break
            run = response.runs.add()
            run.CopyFrom(_with_wait(entry, await self._book.head(entry)))
            del run.rounds[:]
            size += run.ByteSize()
        return response

    async def objects(self, request: pb.ListObjectsRequest) -> pb.ListObjectsResponse:
        """Return a page of a run's objects of one kind, one per shard; BadInput for an unknown kind or page token."""
        if not (request.page_token.isdecimal() or not request.page_token) or len(request.page_token) > 9:
            raise BadInput(f"page_token {request.page_token[:80]!a}: is not a token that this call returned")
        state = await self._book.whole(self._entry(request.run_id))
        found = await asyncio.to_thread(self._objects, state, request.kind, request.round)
        first = int(request.page_token or 0)
        last = first + (request.page_size if 0 < request.page_size < _PAGE_OBJECTS else _PAGE_OBJECTS)
        response = pb.ListObjectsResponse(next_page_token=str(last) if last < len(found) else "")
        page: Any = found[first:last]
        (response.shards if request.kind == "shards" else response.objects).extend(page)
        return response

    def _objects(self, state: RunState, kind: str, round_: int) -> Sequence[Any]:
        """Return all objects of a kind, decoded once for all pages."""
        kept = self._paged
        if kept is None or kept[0] is not state or kept[1:3] != (kind, round_):
            kept = self._paged = (state, kind, round_, objects(state, kind, round_))
        return kept[3]

    async def cancel(self, request: pb.CancelRunRequest) -> pb.CancelRunResponse:
        """Stop a run; resumable. A run that is done stays done."""
        entry = self._entry(request.run_id)
        reason = request.reason or "cancelled"
        event = pb.RunEvent(cancelled=pb.RunCancelled(reason=reason))
        await self._settle(entry, event, (RUNNING, FAILED))
        if entry.status == CANCELLED:
            # After the event: a crash in between leaves jobs whose results are unused, never a run that waits for ever.
            await self._log.cancel(request.run_id, reason)
        return pb.CancelRunResponse(run=await self._book.view(entry))

    async def resume(self, request: pb.ResumeRunRequest) -> pb.ResumeRunResponse:
        """Continue a failed or cancelled run where it stopped; a running or finished one is unchanged."""
        entry = self._entry(request.run_id)
        if entry.status in (FAILED, CANCELLED):
            # Before the event: a job that the event queues must not be dropped.
            await self._log.uncancel(request.run_id)
        await self._settle(entry, pb.RunEvent(resumed=pb.RunResumed()), (FAILED, CANCELLED))
        return pb.ResumeRunResponse(run=await self._book.view(entry))

    async def redo(self, request: pb.RedoJobRequest) -> pb.RedoJobResponse:
        """Compute one result again; BadInput if the run has no such job or no job can make it again."""
        entry, state = await self._having(request.run_id, request.job_key)
        if why := healing.refusal(state, request.job_key):
            raise BadInput(f"run {entry.run_id}: {why}")
        if state.status == CANCELLED:
            raise BadInput(f"run {entry.run_id}: was cancelled; tessera resume it first")
        event = pb.JobsRedone(job_keys=[request.job_key], reason="asked for by name", asked=True)
        before = entry.resumed
        while entry.resumed == before and not entry.trouble:
            sequence = entry.sequence + 1
            with contextlib.suppress(Conflict):
                sequence = await self._log.append(entry.run_id, pb.RunEvent(redone=event), entry.log_sequence)
            await self._book.reached(entry.run_id, sequence)
        return pb.RedoJobResponse(run=await self._book.view(entry))

    async def _having(self, run_id: str, job_key: str) -> tuple[RunEntry, RunState]:
        """Return the run that has the job (the named one, else the first) and its state, finished or not."""
        for one in [self._entry(run_id)] if run_id else [entry for _, entry in sorted(self._book.entries.items())]:
            if not one.trouble and job_key in (state := await self._book.whole(one)).places:
                return one, state
        raise BadInput(f"job {job_key[:80]!r}: {f'run {run_id}' if run_id else 'no run'} has it; see tessera audit")

    async def watch(self, request: pb.WatchRunRequest) -> AsyncGenerator[pb.WatchRunResponse, None]:
        """Yield the run at its changes (at most five per second), and progress in between, until it has ended.

        With deltas, responses after the first leave out the spec and every round that did not change.
        """
        entry = self._entry(request.run_id)
        known: dict[int, pb.RoundView] | None = None
        running: dict[str, tuple[float, str]] = {}
        listener = asyncio.create_task(self._listen(request.run_id, running))
        shown: tuple[int, float, str] | None = None
        try:
            while True:
                sequence, view, state = entry.sequence, _with_wait(entry, await self._book.view(entry)), entry.state
                fraction, note = progress(state, running)
                note = entry.waiting or ("" if self._log.connected else "waiting for NATS") or view.waiting or note
                for key in [key for key in running if state is None or is_done(state, key)]:
                    del running[key]
                if shown != (sequence, fraction, note):
                    run = view if known is None or not request.deltas else changes(view, known)
                    yield pb.WatchRunResponse(run=run, fraction=fraction, note=note, delta=run is not view)
                    shown = (sequence, fraction, note)
                    known = {one.round: one for one in view.rounds}
                if view.status in _ENDED:
                    return
                await asyncio.sleep(_BETWEEN_SECONDS)
                await self._book.wait(entry, sequence, _PROGRESS_SECONDS)
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, run_id: str, running: dict[str, tuple[float, str]]) -> None:
        async for told in self._log.progress(run_id):
            running[told.job_key] = (told.fraction, told.note)

    async def _settle(self, entry: RunEntry, event: pb.RunEvent, when: tuple[pb.RunStatus, ...]) -> None:
        """Append an event while the run is in one of the states ``when``; check again after another writer's event."""
        while entry.status in when:
            if entry.trouble:
                raise BadInput(f"run {entry.run_id}: {entry.trouble}")
            # Before the call: the event in the way may have been read when it returns.
            sequence = entry.sequence + 1
            with contextlib.suppress(Conflict):
                sequence = await self._log.append(entry.run_id, event, entry.log_sequence)
            await self._book.reached(entry.run_id, sequence)

    def _entry(self, run_id: str) -> RunEntry:
        entry = self._book.entries.get(run_id)
        if entry is None:
            raise BadInput(f"run {run_id!r}: unknown; tessera status lists the runs")
        return entry


def _with_wait(entry: RunEntry, view: pb.RunView) -> pb.RunView:
    """Return the picture with what the run waits for, where that is people."""
    if not entry.people or view.step not in people.COLLECTS or view.jobs_done == view.jobs_total:
        return view
    told = pb.RunView()
    told.CopyFrom(view)
    told.waiting = entry.people
    return told
