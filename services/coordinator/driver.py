"""Drives every running run: read, fold, decide, append, queue.

Any number of drivers may follow one log. Each decision is appended under the sequence at which it was made, so one
driver wins, and the others read its decision; that of a loser never becomes visible.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from google.protobuf.message import Message

from services.coordinator.book import Book
from services.coordinator.outbox import Outbox, keys_of
from services.coordinator.telling import RoundTeller, place
from tessera.errors import BadInput, Conflict, TesseraError, Unavailable
from tessera.loop import healing, plan
from tessera.loop.entry import Events, RunEntry
from tessera.loop.reducer import RunState, Step
from tessera.pb.runs_pb2 import JobsRedone, RunEvent, RunFailed, RunFinished, StepStarted
from tessera.runtime import telemetry, tracing
from tessera.runtime.events import EventLog
from tessera.runtime.seldom import Seldom

_log = logging.getLogger(__name__)

_FIRST_LOOK: Final = 5.0

Ask = Callable[[str, int, str, Any], Awaitable[None]]
"""(run, round, job key, request): does a step that no worker gets; idempotent."""
JobKey = Callable[[str, Message], str]
"""(method name, request) → job key."""


class Driver:
    """Background work of one coordinator process; ``run`` never returns."""

    def __init__(
        self,
        log: EventLog,
        book: Book,
        job_key: JobKey,
        *,
        window: int = 256,
        grace: float = 2.0,
        pause: float = 1.0,
        look: float = 120.0,
        replaced: Mapping[str, str] | None = None,
        own: Mapping[str, Ask] | None = None,
    ) -> None:
        """``look``: most seconds between two searches for lost jobs; after a (re)start they come sooner.

        ``own``: what the coordinator itself does in the place of workers, by the name of the step.

        ``replaced``: algorithm versions of methods that somebody else's workers serve (`catalogue.algorithm`).
        """
        self._log, self._book, self._key, self._replaced = log, book, job_key, replaced or {}
        self._window, self._grace, self._pause, self._look = window, grace, pause, look
        self._own = own or {}
        self._wakes: dict[str, asyncio.Event] = {}

    async def run(self, from_sequence: int) -> None:
        """Act on the runs of an opened book and on every event after ``Book.open``'s sequence, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for entry in list(self._book.entries.values()):
                self._wake(entry, tasks)
            async for batch in self._log.changes(None, from_sequence):
                found: dict[str, Events] = {}
                for logged in batch:
                    found.setdefault(logged.run_id, []).append((logged.sequence, logged.event))
                for run_id, events in found.items():
                    self._wake(await self._book.take(run_id, events), tasks)

    def _wake(self, entry: RunEntry, tasks: asyncio.TaskGroup) -> None:
        wake = self._wakes.get(entry.run_id)
        if wake is None:
            if not entry.running:
                return
            wake = self._wakes[entry.run_id] = asyncio.Event()
            outbox = Outbox(self._log, self._key, self._window, self._replaced)
            pilot = _Pilot(self._log, entry, wake, self._key, outbox, self._grace, self._look, self._own)
            tasks.create_task(pilot.fly(self._pause))
        wake.set()
        if entry.state is None:
            # Done for ever: the run's task reads this and ends.
            del self._wakes[entry.run_id]


class _Looks:
    """Times of the searches for lost jobs: 5, 10, 20, … ≤ ``longest`` seconds apart, from a start or resume on."""

    def __init__(self, longest: float) -> None:
        self._longest, self._resumed = longest, -1
        self._apart = self._next = 0.0

    def seconds_left(self) -> float:
        """Return the seconds until the next search."""
        return max(self._next - time.monotonic(), 0.1) if self._next else self._longest

    def due(self, resumed: int) -> bool:
        """Return whether a search is due; ``resumed``, the sequence of the last RunResumed, restarts the times."""
        if self._resumed != resumed:
            self._resumed, self._apart = resumed, min(_FIRST_LOOK, self._longest)
            self._next = time.monotonic() + self._apart
        return time.monotonic() >= self._next

    def looked(self, *, again_soon: bool) -> None:
        """Set the time of the next search: soon where something is missing."""
        self._apart = min(2 * self._apart, self._longest)
        self._next = time.monotonic() + (min(_FIRST_LOOK, self._longest) if again_soon else self._apart)


class _Pilot:
    """One run's task, so that a slow run delays no other."""

    def __init__(
        self,
        log: EventLog,
        entry: RunEntry,
        wake: asyncio.Event,
        job_key: JobKey,
        outbox: Outbox,
        grace: float,
        look: float,
        own: Mapping[str, Ask],
    ) -> None:
        self._own = own
        self._log, self._entry, self._wake = log, entry, wake
        self._looks = _Looks(look)
        self._seldom = Seldom(_log)
        self._key, self._grace = job_key, grace
        self._outbox = outbox
        self._teller = RoundTeller()
        # Sequence of our own last event: nothing is decided until it has been read back.
        self._appended = 0
        self._mine: set[tuple[int, str]] = set()

    async def fly(self, pause: float) -> None:
        telemetry.bind(run=self._entry.run_id)
        while True:
            with contextlib.suppress(TimeoutError):
                left = self._looks.seconds_left() if self._entry.running else None
                async with asyncio.timeout(left):
                    await self._wake.wait()
            self._wake.clear()
            if self._entry.state is None:
                return
            try:
                await self._act()
                self._entry.waiting = ""
            except Unavailable as error:
                self._seldom.warning("waiting", self._entry.run_id, error=str(error))
                self._entry.waiting = f"waiting: {error}"[:200]
                await asyncio.sleep(pause)
                self._wake.set()
            except Exception as error:
                # A bug of ours must end this run with an error, and no other run.
                _log.exception("planning failed", extra={"run": self._entry.run_id})
                message = f"the coordinator could not go on: {type(error).__name__}: {str(error)[:2000]}"
                with contextlib.suppress(TesseraError):
                    await self._append(
                        self._entry.log_sequence, RunEvent(failed=RunFailed(message=message, exit_code=3))
                    )
                await asyncio.sleep(pause)

    async def _act(self) -> None:
        entry = self._entry
        # Together, before any await: a decision is valid only for the sequence at which it was made.
        state, at = entry.state, entry.log_sequence
        if state is None or at < self._appended:
            return
        if not entry.running:
            await self._teller.stopped(state)
            return
        # In a thread, like the making of keys: planning a step of a large pool takes seconds.
        action = await asyncio.to_thread(plan.next_action, state)
        if isinstance(action, plan.Wait):
            # The earliest only: where a result is computed again, later steps wait for it.
            for open_step in state.open_steps[:1]:
                with tracing.within(place(state, open_step)):
                    await self._dispatch(state, at, open_step)
        elif await self._decide(at, action):
            await self._teller.decided(state, action)

    async def _decide(self, at: int, action: plan.StartStep | plan.Finish | plan.Fail | healing.Redo) -> bool:
        """Append a decision; False when another coordinator was faster."""
        match action:
            case plan.StartStep(step, round_, jobs):
                keys = await asyncio.to_thread(keys_of, self._key, jobs)
                started = StepStarted(round=round_, step=step, job_keys=keys)
                won = await self._append(at, RunEvent(step_started=started))
                if won:
                    self._mine.add((round_, step))
                    self._outbox.prepare((round_, step), jobs, keys)
                return won
            case plan.Finish(reason):
                return await self._append(at, RunEvent(finished=RunFinished(reason=reason)))
            case plan.Fail(message, exit_code):
                return await self._append(at, RunEvent(failed=RunFailed(message=message, exit_code=exit_code)))
            case healing.Redo(keys, retried, reason):
                _log.warning("results are made again", extra={"run": self._entry.run_id, "jobs": keys, "why": reason})
                redone = JobsRedone(job_keys=keys, retried_keys=retried, reason=reason)
                return await self._append(at, RunEvent(redone=redone))

    async def _dispatch(self, state: RunState, at: int, step: Step) -> None:
        if step.name in self._own:
            await self._do(self._own[step.name], state, at, step)
            return
        if (step.round, step.name) not in self._mine:
            # Another coordinator started it, or this one before a restart: the other one, if it lives, goes first.
            await asyncio.sleep(self._grace)
            self._mine.add((step.round, step.name))
            self._wake.set()
            return
        try:
            await self._outbox.send(state, step, self._entry.resumed)
            if self._looks.due(self._entry.resumed):
                self._looks.looked(again_soon=await self._outbox.look(state, step))
        except BadInput as error:
            await self._append(at, RunEvent(failed=RunFailed(message=str(error), exit_code=2)))

    async def _do(self, own: Ask, state: RunState, at: int, step: Step) -> None:
        """Do a step here (people are asked, a version is taken up), in place of queuing its job."""
        try:
            for key, job in await asyncio.to_thread(self._outbox.missing, state, step):
                await own(self._entry.run_id, step.round, key, job.request)
        except BadInput as error:
            await self._append(at, RunEvent(failed=RunFailed(message=str(error), exit_code=2)))

    async def _append(self, at: int, event: RunEvent) -> bool:
        """Append at the sequence of the decision; False when another coordinator was faster."""
        try:
            self._appended = await self._log.append(self._entry.run_id, event, at)
        except Conflict:
            return False
        return True
