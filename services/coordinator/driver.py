"""Drives every running run: read, fold, decide, append, queue.

Any number of drivers may look at one log. Each decision is appended under the sequence it was made at, so one wins and
the others read what it decided; the loser's decision was never visible.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from google.protobuf.message import Message

from services.coordinator.book import Book
from services.coordinator.outbox import Outbox, keys_of
from tessera.errors import BadInput, Conflict, TesseraError, Unavailable
from tessera.loop import healing, plan
from tessera.loop.entry import Events, RunEntry
from tessera.loop.reducer import RunState, Step
from tessera.pb.runs_pb2 import JobsRedone, RunEvent, RunFailed, RunFinished, StepStarted
from tessera.runtime.events import EventLog

_log = logging.getLogger(__name__)

JobKey = Callable[[str, Message], str]
"""(method name, request) → job key."""


class Driver:
    """Background work of one coordinator process; ``run`` never returns."""

    def __init__(
        self, log: EventLog, book: Book, job_key: JobKey, *, window: int = 256, grace: float = 2.0, pause: float = 1.0
    ) -> None:
        self._log, self._book, self._key = log, book, job_key
        self._window, self._grace, self._pause = window, grace, pause
        self._wakes: dict[str, asyncio.Event] = {}

    async def run(self, from_sequence: int) -> None:
        """Act on the runs of an opened book, and on what the log says from ``Book.open``'s sequence on, for ever."""
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
            tasks.create_task(_Pilot(self._log, entry, wake, self._key, self._window, self._grace).fly(self._pause))
        wake.set()
        if entry.state is None:
            # Done for ever: the pilot reads the wake-up and lands.
            del self._wakes[entry.run_id]


class _Pilot:
    """One run's task: a slow queue of one run never holds up another."""

    def __init__(
        self, log: EventLog, entry: RunEntry, wake: asyncio.Event, job_key: JobKey, window: int, grace: float
    ) -> None:
        self._log, self._entry, self._wake = log, entry, wake
        self._key, self._grace = job_key, grace
        self._outbox = Outbox(log, job_key, window)
        # Sequence of our own last event: until it has been read back there is nothing new to decide.
        self._appended = 0
        self._mine: set[tuple[int, str]] = set()

    async def fly(self, pause: float) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._entry.state is None:
                return
            try:
                await self._act()
            except Unavailable as error:
                _log.warning("waiting", extra={"run": self._entry.run_id, "error": str(error)})
                await asyncio.sleep(pause)
                self._wake.set()
            except Exception as error:
                # A fault of ours must end the run with a sentence, not stop every other run.
                _log.exception("planning failed", extra={"run": self._entry.run_id})
                message = f"the coordinator could not go on: {type(error).__name__}: {str(error)[:2000]}"
                with contextlib.suppress(TesseraError):
                    await self._append(
                        self._entry.log_sequence, RunEvent(failed=RunFailed(message=message, exit_code=3))
                    )
                await asyncio.sleep(pause)

    async def _act(self) -> None:
        entry = self._entry
        # Together, before anything is waited for: a decision is only good for the place in the log it was made at.
        state, at = entry.state, entry.log_sequence
        if state is None or not entry.running or at < self._appended:
            return
        # In a thread, as is making keys: a step of a large pool takes seconds to plan.
        match await asyncio.to_thread(plan.next_action, state):
            case plan.StartStep(step, round_, jobs):
                keys = await asyncio.to_thread(keys_of, self._key, jobs)
                if await self._append(at, RunEvent(step_started=StepStarted(round=round_, step=step, job_keys=keys))):
                    self._mine.add((round_, step))
                    self._outbox.prepare((round_, step), jobs, keys)
            case plan.Finish(reason):
                await self._append(at, RunEvent(finished=RunFinished(reason=reason)))
            case plan.Fail(message, exit_code):
                await self._append(at, RunEvent(failed=RunFailed(message=message, exit_code=exit_code)))
            case healing.Redo(keys, retried, reason):
                _log.warning("results are made again", extra={"run": entry.run_id, "jobs": keys, "why": reason})
                redone = JobsRedone(job_keys=keys, retried_keys=retried, reason=reason)
                await self._append(at, RunEvent(redone=redone))
            case plan.Wait():
                # The earliest only: where a result is made again, later steps wait for it.
                for open_step in state.open_steps[:1]:
                    await self._dispatch(state, at, open_step)

    async def _dispatch(self, state: RunState, at: int, step: Step) -> None:
        if (step.round, step.name) not in self._mine:
            # Another coordinator started it, or this one before a restart: leave the first word to whoever lives.
            await asyncio.sleep(self._grace)
            self._mine.add((step.round, step.name))
            self._wake.set()
            return
        try:
            await self._outbox.send(state, step, self._entry.resumed)
        except BadInput as error:
            await self._append(at, RunEvent(failed=RunFailed(message=str(error), exit_code=2)))

    async def _append(self, at: int, event: RunEvent) -> bool:
        """Append at the place the decision was made for; False when somebody else was faster."""
        try:
            self._appended = await self._log.append(self._entry.run_id, event, at)
        except Conflict:
            return False
        return True
