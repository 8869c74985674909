"""Queues the jobs of started steps: each once, a window of them at a time, again after a resume."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.loop import plan
from tessera.loop.reducer import RunState, Step
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.runtime.events import EventLog

Place = tuple[int, str]
_TOGETHER = 32
"""Jobs that are published at once: one at a time, most of the time is spent waiting for the server's word."""


def keys_of(job_key: Callable[[str, Message], str], jobs: Sequence[plan.Job]) -> list[str]:
    """Return the job keys of a step, in order."""
    return [job_key(job.method, job.request) for job in jobs]


class Outbox:
    """Jobs of one run that are still to be queued."""

    def __init__(self, log: EventLog, job_key: Callable[[str, Message], str], window: int) -> None:
        self._log, self._key, self._window = log, job_key, window
        self._step: tuple[Place, int] | None = None
        self._todo: deque[tuple[str, plan.Job]] = deque()
        self._out: set[str] = set()
        self._prepared: tuple[Place, Sequence[plan.Job], Sequence[str]] | None = None

    def prepare(self, place: Place, jobs: Sequence[plan.Job], keys: Sequence[str]) -> None:
        """Keep the jobs of a step that was just started, so that they are not planned twice."""
        self._prepared, self._step = (place, jobs, keys), None

    async def send(self, state: RunState, step: Step, resumed: int) -> None:
        """Queue what has no result yet, up to the window; call again when results arrive.

        BadInput when this version would plan other jobs than those the step was started with.
        """
        place = (step.round, step.name)
        if self._step != (place, resumed):
            self._todo = deque(await asyncio.to_thread(self._missing, state, step))
            self._out = set()
            self._step = (place, resumed)
        self._out = {key for key in self._out if key not in step.records}
        while self._todo and len(self._out) < self._window:
            room = min(_TOGETHER, self._window - len(self._out))
            some = [self._todo[place] for place in range(min(room, len(self._todo)))]
            fresh = {key: job for key, job in some if key not in step.records and key not in self._out}
            await self._dispatch_all(state, fresh, resumed)
            # Only now: a queue that is full raises, and the jobs must still be here for the next try. Those of them
            # that were queued already are known by their names and not queued twice.
            for _ in some:
                self._todo.popleft()

    async def _dispatch_all(self, state: RunState, jobs: dict[str, plan.Job], resumed: int) -> None:
        tries = [self._dispatch(state, key, job, resumed) for key, job in jobs.items()]
        for failure in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure

    async def _dispatch(self, state: RunState, key: str, job: plan.Job, resumed: int) -> None:
        run_id = state.spec.run_id if state.spec is not None else ""
        request = job.request.SerializeToString(deterministic=True)
        envelope = JobEnvelope(job_key=key, method=job.method, request=request, run_id=run_id)
        if key in state.distrusted:
            envelope.distrusted = state.distrusted[key].digest.hex()
        # Requests over the whole pool name every shard; those that do not fit a message travel through the store.
        await self._log.dispatch(envelope, str(resumed) if resumed else "")
        self._out.add(key)

    def _missing(self, state: RunState, step: Step) -> list[tuple[str, plan.Job]]:
        if self._prepared is not None and self._prepared[0] == (step.round, step.name):
            jobs, keys = self._prepared[1:]
        else:
            jobs = plan.jobs(state, step)
            keys = keys_of(self._key, jobs)
        self._prepared = None
        if tuple(keys) != step.job_keys:
            raise BadInput(
                f"round {step.round}, {step.name}: this version of Tessera would compute something else than the one "
                "that started this run; submit it anew (finished work of equal steps is reused)"
            )
        return [pair for pair in zip(keys, jobs, strict=True) if pair[0] not in step.records]
