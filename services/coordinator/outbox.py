"""Queue the jobs of started steps, each once, a window at a time, and again after a resume or a loss.

A job is lost when it has neither a message in the queue nor a result or failure: the queue was purged, or the message
grew too old or went past its deliveries unnoticed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.loop import plan
from tessera.loop.reducer import RunState, Step
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.runtime.catalogue import algorithm
from tessera.runtime.events import EventLog

_log = logging.getLogger(__name__)
Place = tuple[int, str]
_TOGETHER = 32
"""Number of jobs published concurrently; one by one, most of the time would pass waiting for the server."""


def keys_of(job_key: Callable[[str, Message], str], jobs: Sequence[plan.Job]) -> list[str]:
    """Return the job keys of a step, in order."""
    return [job_key(job.method, job.request) for job in jobs]


@dataclass
class _Out:
    """A job in the queue: the sequence of its message, and whether the message was missing at the last look."""

    job: plan.Job
    sequence: int
    missing: bool = False


class Outbox:
    """Jobs of one run that are still to be queued."""

    def __init__(
        self,
        log: EventLog,
        job_key: Callable[[str, Message], str],
        window: int,
        replaced: Mapping[str, str],
    ) -> None:
        self._log, self._key, self._window, self._replaced = log, job_key, window, replaced
        self._step: tuple[Place, int] | None = None
        self._todo: deque[tuple[str, plan.Job]] = deque()
        self._out: dict[str, _Out] = {}
        self._prepared: tuple[Place, Sequence[plan.Job], Sequence[str]] | None = None

    def prepare(self, place: Place, jobs: Sequence[plan.Job], keys: Sequence[str]) -> None:
        """Keep the jobs of a step that was just started, so that they are not planned twice."""
        self._prepared, self._step = (place, jobs, keys), None

    async def send(self, state: RunState, step: Step, resumed: int) -> None:
        """Queue jobs that have no result yet, up to the window; call again when results arrive.

        BadInput when this version would plan other jobs than those the step was started with.
        """
        place = (step.round, step.name)
        if self._step != (place, resumed):
            begun, out = self._step is None and not self._is_prepared(place), dict[str, _Out]()
            todo = deque(await asyncio.to_thread(self.missing, state, step))
            if begun:
                # This process has just begun: jobs that an earlier one queued are not queued again.
                out = await self._queued(state, todo)
            self._todo, self._out, self._step = todo, out, (place, resumed)
        self._out = {key: out for key, out in self._out.items() if key not in step.records}
        while self._todo and len(self._out) < self._window:
            room = min(_TOGETHER, self._window - len(self._out))
            some = [self._todo[place] for place in range(min(room, len(self._todo)))]
            fresh = {key: job for key, job in some if key not in step.records and key not in self._out}
            await self._dispatch_all(state, fresh, resumed)
            # Only now: a full queue raises, and the jobs must still be here for the next try. Jobs already queued are
            # known by their names and not queued twice.
            for _ in some:
                self._todo.popleft()

    async def _dispatch_all(self, state: RunState, jobs: dict[str, plan.Job], resumed: int) -> None:
        tries = [self._dispatch(state, key, job, str(resumed) if resumed else "") for key, job in jobs.items()]
        for failure in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure

    async def look(self, state: RunState, step: Step) -> bool:
        """Queue lost jobs again; return whether a message is missing, so that another look is due soon.

        A job counts as lost at the second look, after the result of a job that has just ended was read.
        """
        if self._step is None or self._step[0] != (step.round, step.name):
            return False
        waiting = [(key, out) for key, out in self._out.items() if key not in step.records]
        for first in range(0, len(waiting), _TOGETHER):
            await asyncio.gather(*(self._check(state, *one) for one in waiting[first : first + _TOGETHER]))
        return any(out.missing for _, out in waiting)

    async def _check(self, state: RunState, key: str, out: _Out) -> None:
        if await self._log.is_queued(out.sequence):
            out.missing = False
        elif not out.missing:
            out.missing = True
        else:
            _log.warning("a job was lost and is queued again", extra={"run": _run_id(state), "job_key": key})
            # The message's own number, so that two coordinators queue it once.
            await self._dispatch(state, key, out.job, f"lost-{out.sequence}")

    async def _queued(self, state: RunState, todo: Iterable[tuple[str, plan.Job]]) -> dict[str, _Out]:
        """Return which of these jobs are in the queue already."""
        jobs = dict(todo)
        found: dict[str, _Out] = {}
        for method in {job.method for job in jobs.values()}:
            for (run_id, key), sequence in (await self._log.queued(method)).items():
                if run_id == _run_id(state) and key in jobs:
                    found[key] = _Out(jobs[key], sequence)
        return found

    async def _dispatch(self, state: RunState, key: str, job: plan.Job, nonce: str) -> None:
        request = job.request.SerializeToString(deterministic=True)
        envelope = JobEnvelope(
            job_key=key,
            method=job.method,
            request=request,
            run_id=_run_id(state),
            algorithm=algorithm(job.method, self._replaced),
        )
        if key in state.distrusted:
            envelope.distrusted = state.distrusted[key].digest.hex()
        # Requests over the whole pool name every shard; those that do not fit a message travel through the store.
        published = await self._log.dispatch(envelope, nonce)
        self._out[key] = _Out(job, published.sequence)

    def _is_prepared(self, place: Place) -> bool:
        return self._prepared is not None and self._prepared[0] == place

    def missing(self, state: RunState, step: Step) -> list[tuple[str, plan.Job]]:
        """Return the jobs of a step that have no result, with their keys; BadInput as in `send`."""
        if self._prepared is not None and self._is_prepared((step.round, step.name)):
            jobs, keys = self._prepared[1:]
        else:
            jobs = plan.jobs(state, step)
            keys = keys_of(self._key, jobs)
        self._prepared = None
        if tuple(keys) != step.job_keys:
            raise BadInput(
                f"round {step.round}, {step.name}: this version of Tessera plans other jobs than the one that "
                "started the run; submit the run again, it reuses finished steps"
            )
        return [pair for pair in zip(keys, jobs, strict=True) if pair[0] not in step.records]


def _run_id(state: RunState) -> str:
    return state.spec.run_id if state.spec is not None else ""
