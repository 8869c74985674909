"""An event log in memory with the concurrency rules of the real one, and workers that answer from the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tessera.errors import Conflict, Unavailable
from tessera.loop.plan import Job
from tessera.pb import embedder_pb2, evaluator_pb2, oracle_pb2, partitioner_pb2, scorer_pb2, selector_pb2, trainer_pb2
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.pb.runs_pb2 import RunEvent, RunSpec
from tessera.runtime.events import JobProgress, Logged
from tessera.runtime.streams import Published
from unit.loop.simulator import World, job_done, job_failed

REQUESTS: dict[str, type[Any]] = {
    "Partition": partitioner_pb2.PartitionRequest,
    "Score": scorer_pb2.ScoreRequest,
    "Select": selector_pb2.SelectRequest,
    "Answer": oracle_pb2.AnswerRequest,
    "Train": trainer_pb2.TrainRequest,
    "Evaluate": evaluator_pb2.EvaluateRequest,
    "Featurize": embedder_pb2.FeaturizeRequest,
    "Fit": embedder_pb2.FitRequest,
    "Project": embedder_pb2.ProjectRequest,
}


@dataclass
class FakeLog:
    """``EventLog`` without NATS. ``work`` answers what is queued."""

    world: World = field(default_factory=World)
    events: list[Logged] = field(default_factory=list)
    queue: list[JobEnvelope] = field(default_factory=list)
    dispatched: list[tuple[str, str]] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    conflicts: int = 0
    specs: dict[str, RunSpec] = field(default_factory=dict)
    # Job keys that fail, and how many dispatches find the queue full.
    failing: set[str] = field(default_factory=set)
    fail_method: str = ""
    full: int = 0
    connected: bool = True
    _ids: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _messages: dict[int, JobEnvelope] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, run_id: str, event: RunEvent) -> int:
        stored = RunEvent()
        stored.CopyFrom(event)
        stored.time.seconds = 1000 + len(self.events)
        self.events.append(Logged(run_id, len(self.events) + 1, stored))
        self._news.set()
        self._news = asyncio.Event()
        return len(self.events)

    async def keep(self, spec: RunSpec) -> None:
        self.specs[spec.run_id] = spec

    async def kept(self, run_id: str) -> RunSpec | None:
        return self.specs.get(run_id)

    async def append(self, run_id: str, event: RunEvent, expected_last_sequence: int) -> int:
        await asyncio.sleep(0)
        mine = [
            one.sequence
            for one in self.events
            if one.run_id == run_id and one.event.WhichOneof("kind") not in ("job_done", "job_failed")
        ]
        if (mine[-1] if mine else 0) != expected_last_sequence:
            self.conflicts += 1
            raise Conflict("somebody else wrote first")
        return self.put(run_id, event)

    async def read(self, run_id: str) -> list[tuple[int, RunEvent]]:
        await asyncio.sleep(0)
        return [(one.sequence, one.event) for one in self.events if one.run_id == run_id]

    async def scan(self, run_id: str, *, packed: bool = False) -> AsyncIterator[list[tuple[int, RunEvent]]]:
        yield await self.read(run_id)

    async def unpack(self, event: RunEvent) -> RunEvent:
        return event

    async def restore(self) -> list[str]:
        return []

    async def position(self) -> int:
        return len(self.events)

    async def run_ids(self) -> list[str]:
        return sorted({one.run_id for one in self.events})

    async def changes(self, run_id: str | None = None, from_sequence: int = 1) -> AsyncIterator[list[Logged]]:
        position = from_sequence - 1
        while True:
            while position < len(self.events):
                batch = self.events[position : position + 3]
                position += len(batch)
                yield batch
                await asyncio.sleep(0)
            await self._news.wait()

    async def dispatch(self, envelope: JobEnvelope, nonce: str = "") -> Published:
        if self.full > 0:
            self.full -= 1
            raise Unavailable("the queue is full")
        identity = (envelope.run_id, envelope.job_key, nonce)
        if identity in self._ids:
            return Published(self._ids[identity], duplicate=True)
        self.dispatched.append((envelope.job_key, nonce))
        self._ids[identity] = len(self.dispatched)
        self._messages[len(self.dispatched)] = envelope
        self.queue.append(envelope)
        return Published(len(self.dispatched), duplicate=False)

    async def is_queued(self, sequence: int) -> bool:
        await asyncio.sleep(0)
        return any(one is self._messages.get(sequence) for one in self.queue)

    async def queued(self, method: str) -> dict[tuple[str, str], int]:
        await asyncio.sleep(0)
        return {
            (one.run_id, one.job_key): sequence
            for sequence, one in self._messages.items()
            if one.method == method and any(one is waiting for waiting in self.queue)
        }

    async def cancel(self, run_id: str, reason: str) -> None:
        self.cancelled.add(run_id)

    async def uncancel(self, run_id: str) -> None:
        self.cancelled.discard(run_id)

    async def progress(self, run_id: str) -> AsyncIterator[JobProgress]:
        await asyncio.Event().wait()
        yield JobProgress("", "", 0.0)

    async def work(self) -> None:
        """Answer jobs for ever, as a pool of workers does."""
        while True:
            await asyncio.sleep(0)
            if self.queue:
                self.answer(self.queue.pop(0))

    def answer(self, envelope: JobEnvelope) -> None:
        """Answer one job, unless its run is cancelled."""
        if envelope.run_id in self.cancelled:
            return
        if envelope.job_key in self.failing or envelope.method == self.fail_method:
            self.put(envelope.run_id, job_failed(envelope.job_key, envelope.method, "image a.png is truncated", 2))
            return
        request = REQUESTS[envelope.method].FromString(envelope.request)
        response = self.world.answer(Job(envelope.method, request))
        self.put(envelope.run_id, job_done(envelope.job_key, envelope.method, response))

    def kinds(self, kind: str) -> list[Any]:
        """Events of one kind."""
        return [getattr(one.event, kind) for one in self.events if one.event.WhichOneof("kind") == kind]
