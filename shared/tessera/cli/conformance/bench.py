"""Both doors of the service under test, its store, and the leftovers of the checks, to be removed."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from tessera.cli.conformance.outcomes import Broken, NotApplicable
from tessera.cli.conformance.samples import SampleRequest
from tessera.errors import TesseraError
from tessera.loop.responses import references, response_of
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from tessera.pb.runs_pb2 import RunEvent
from tessera.runtime import jobkeys, rpc, topology
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import Messaging
from tessera.runtime.method import Method
from tessera.runtime.objects import ObjectStore
from tessera.runtime.records import Records
from tessera.runtime.references import content_key, make_ref

_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Sent:
    """A job that was queued: its run, its key, and the sequence of its message."""

    run_id: str
    key: str
    sequence: int


@dataclass
class Bench:
    """Actions of the checks. ``seconds``: longest time of a job; ``nonce``: part of all names of this examination."""

    channel: rpc.Channel
    store: ObjectStore
    versions: dict[str, str]
    nonce: str
    seconds: float
    messaging: Messaging | None = None
    records: Records | None = None
    answers: dict[str, bytes] = field(default_factory=dict)
    """The response to each method's sample, once some door has given it."""
    ends: dict[str, JobRecord] = field(default_factory=dict)
    """The record of each method's sample, once the JetStream door has told it."""
    _sent: list[Sent] = field(default_factory=list)
    _letters: int = 0
    _cancelled: list[str] = field(default_factory=list)

    async def call(self, method: Method, request: Message | bytes, seconds: float | None = None) -> rpc.Exchange:
        """Call the gRPC door."""
        data = request if isinstance(request, bytes) else request.SerializeToString(deterministic=True)
        return await self.channel.exchange(method.path, data, seconds or self.seconds)

    async def answer(self, sample: SampleRequest, request: Message | bytes | None = None) -> bytes:
        """Call the gRPC door with a request that must succeed; Broken says how it ended instead."""
        ended = await self.call(sample.method, sample.request if request is None else request)
        if ended.code != "OK":
            raise Broken(f"{ended.code}: {ended.text[:300]}")
        return ended.data

    async def decoded(self, method: Method, data: bytes) -> Message:
        """Return the response, every object that it names read and verified; Broken names the first fault."""
        response = response_of(method.name, data)
        if response is None:
            raise Broken(f"the bytes are no {method.name}Response")
        for ref in references(response):
            try:
                await self.store.get(ref)
            except TesseraError as error:
                raise Broken(f"the response names an object that cannot be read: {error}") from None
        return response

    def absent(self) -> ObjectRef:
        """Return a well-formed reference to an object that does not exist."""
        data = f"conformance {self.nonce} absent".encode()
        ref = make_ref(self.store.bucket, "x", data, "application/octet-stream")
        ref.key = content_key(ref.sha256)
        return ref

    async def damaged(self) -> ObjectRef:
        """Return a reference to an object that exists and has other bytes of the same size."""
        key = f"conformance/{self.nonce}/damaged"
        ref = await self.store.put(key, b"damaged bytes", "application/octet-stream")
        ref.sha256 = hashlib.sha256(b"correct bytes").hexdigest()
        return ref

    # The JetStream door.

    @property
    def nats(self) -> Messaging:
        """The connection; NotApplicable without one."""
        if self.messaging is None:
            raise NotApplicable("give --nats to check this door")
        return self.messaging

    @property
    def kept(self) -> Records:
        """The records of jobs; NotApplicable without NATS."""
        if self.records is None:
            raise NotApplicable("give --nats to check this door")
        return self.records

    def key_of(self, method: Method, request: Message, version: str | None = None) -> str:
        """Return the job key of a request under the implementation's version, or another."""
        return jobkeys.job_key(method.name, version or self.versions[method.name], request)

    async def open_queue(self) -> None:
        """Remember where the dead letters begin that belong to this examination."""
        if self.messaging is not None:
            self._letters = await self.messaging.position(topology.DLQ) + 1

    async def queue(self, method: Method, request: Message, **fields: Any) -> Sent:
        """Queue a job in a run of its own; ``fields`` replace those of its envelope."""
        run_id = fields.pop("run_id", f"conformance-{self.nonce}-{len(self._sent)}")
        given: dict[str, Any] = {
            "job_key": self.key_of(method, request),
            "method": method.name,
            "request": request.SerializeToString(deterministic=True),
            "run_id": run_id,
            "algorithm": self.versions[method.name],
            **fields,
        }
        if "request_ref" in given:
            del given["request"]
        published = await EventLog(self.nats).dispatch(JobEnvelope(**given), nonce=str(len(self._sent)))
        self._sent.append(Sent(run_id, given["job_key"], published.sequence))
        return self._sent[-1]

    async def publish(self, method: Method, data: bytes) -> int:
        """Put any bytes into the method's queue; return the message's sequence."""
        published = await self.nats.publish(topology.job_subject(method.verb), data)
        self._sent.append(Sent("", "", published.sequence))
        return published.sequence

    async def end(self, sent: Sent, seconds: float | None = None) -> RunEvent:
        """Return how a job ended, by its run's events; Broken when no event comes in time."""
        subject, until = topology.result_subject(sent.run_id), time.monotonic() + (seconds or self.seconds)
        while not await self.nats.last_sequence(topology.EVENTS, subject):
            if time.monotonic() > until:
                raise Broken(f"no event on {subject} within {seconds or self.seconds:g} s")
            await asyncio.sleep(_LOOK_SECONDS)
        stored = await self.nats.read(topology.EVENTS, subject)
        return RunEvent.FromString(stored[0].data)

    async def done(self, method: Method, request: Message, **fields: Any) -> JobRecord:
        """Queue a job and return the record that its run is told; Broken when it fails."""
        return self.result(await self.end(await self.queue(method, request, **fields)))

    def result(self, event: RunEvent) -> JobRecord:
        """Return the record of a finished job; Broken when it failed."""
        if not event.HasField("job_done"):
            failure = event.job_failed.failure
            raise Broken(f"the job failed: {failure.reason}: {failure.message[:300]}")
        return event.job_done.record

    async def failure(self, method: Method, request: Message) -> tuple[JobFailure, JobFailure | None]:
        """Queue a job that must fail; returns the failure that its run is told, and its dead letter."""
        sent = await self.queue(method, request)
        event = await self.end(sent)
        if not event.HasField("job_failed"):
            raise Broken("the job was done and not refused")
        await self.left(sent.sequence)
        letters = [letter for letter in await self.letters(method) if letter.job_key == sent.key]
        return event.job_failed.failure, letters[0] if letters else None

    async def letters(self, method: Method) -> list[JobFailure]:
        """Return the dead letters of the method since this examination began."""
        stored = await self.nats.read(topology.DLQ, topology.dlq_subject(method.verb), self._letters)
        return [JobFailure.FromString(one.data) for one in stored]

    async def left(self, sequence: int) -> None:
        """Wait until a message has left the queue; Broken when it does not."""
        until = time.monotonic() + self.seconds
        while await self.nats.get(topology.JOBS, sequence) is not None:
            if time.monotonic() > until:
                raise Broken(f"the message is still in the queue after {self.seconds:g} s; nobody acknowledged it")
            await asyncio.sleep(_LOOK_SECONDS)

    async def taken(self, method: Method) -> None:
        """Wait until no message waits for its first delivery; Broken when no worker fetches any."""
        until = time.monotonic() + self.seconds
        while True:
            found = await self.nats.queue(topology.JOBS, topology.consumer_name(method.verb))
            if found is not None and not found.waiting:
                return
            if time.monotonic() > until:
                raise Broken(f"nobody has fetched the message within {self.seconds:g} s")
            await asyncio.sleep(_LOOK_SECONDS)

    async def cancel(self, run_id: str) -> None:
        """Mark a run as cancelled until the end of the examination."""
        self._cancelled.append(run_id)
        await EventLog(self.nats).cancel(run_id, "conformance")

    async def clean(self) -> None:
        """Remove what the checks left in NATS, and the records of their jobs; their objects are left to gc."""
        if self.messaging is None:
            return
        for run_id in self._cancelled:
            await EventLog(self.messaging).uncancel(run_id)
        for sent in self._sent:
            await self.messaging.delete(topology.JOBS, sent.sequence)
            if sent.run_id:
                subject = topology.result_subject(sent.run_id)
                last = await self.messaging.last_sequence(topology.EVENTS, subject)
                await self.messaging.purge(topology.EVENTS, subject, last + 1)
        for name in self.versions:
            # A message that was given back too often is queued again, as another message.
            for (run_id, _), sequence in (await EventLog(self.messaging).queued(name)).items():
                if self.nonce in run_id:
                    await self.messaging.delete(topology.JOBS, sequence)
            for letter in await self.messaging.read(topology.DLQ, topology.dlq_subject(name.lower()), self._letters):
                if _of(JobFailure.FromString(letter.data), self.nonce, self._sent):
                    await self.messaging.delete(topology.DLQ, letter.sequence)


def _of(letter: JobFailure, nonce: str, sent: list[Sent]) -> bool:
    """Return whether a dead letter is of this examination: its run, one of its keys, or its unreadable message."""
    return (
        nonce in letter.envelope.run_id
        or letter.job_key in {one.key for one in sent if one.key}
        or nonce.encode() in letter.envelope.request
    )
