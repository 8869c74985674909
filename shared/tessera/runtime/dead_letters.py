"""Jobs that failed for good: kept with their reason, listed, and put back into the queue on request."""

from __future__ import annotations

import builtins
import json
import logging
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import DecodeError

from tessera.errors import BadInput, TesseraError
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure
from tessera.runtime import topology
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import Delivery, Messaging
from tessera.runtime.records import Records

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeadLetter:
    """A failed job: its place in the DLQ, the method's verb, what happened and when."""

    sequence: int
    verb: str
    failure: JobFailure
    time: datetime


class DeadLetters:
    """The DLQ stream."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def add(self, verb: str, failure: JobFailure, delivery: int) -> None:
        """Keep a failure; ``delivery`` is the job message's sequence, which makes repeating harmless."""
        await self._messaging.publish(
            topology.dlq_subject(verb),
            failure.SerializeToString(deterministic=True),
            message_id=f"dlq:{failure.job_key}:{delivery}",
        )

    async def list(self) -> list[DeadLetter]:
        """Every failed job, oldest first."""
        letters: list[DeadLetter] = []
        for stored in await self._messaging.read(topology.DLQ, "tessera.dlq.>"):
            verb = topology.untoken(stored.subject.rsplit(".", 1)[1])
            letters.append(DeadLetter(stored.sequence, verb, JobFailure.FromString(stored.data), stored.time))
        return letters

    async def requeue(self, job_key: str | None = None) -> builtins.list[DeadLetter]:
        """Queue a failed job again (None: all of them), its attempts counted from nought; returns what was queued.

        BadInput when no failed job has this key. A message that was never readable as a job stays where it is.
        """
        chosen = [letter for letter in await self.list() if job_key in (None, letter.failure.job_key)]
        if job_key is not None and not chosen:
            raise BadInput(f"job {job_key}: is not among the failed jobs; see tessera dlq list")
        queued = [letter for letter in chosen if letter.failure.envelope.job_key]
        if job_key is not None and not queued:
            raise BadInput(f"job {job_key}: was never readable as a job and cannot be queued again")
        events = EventLog(self._messaging)
        for letter in queued:
            await events.dispatch(letter.failure.envelope, nonce=f"requeue-{letter.sequence}")
            await self._messaging.delete(topology.DLQ, letter.sequence)
        return queued


class PoisonReader:
    """Moves messages that the server has given up on into the DLQ.

    After its last delivery a message stays in the stream, and no lag metric shows it; only an advisory names it. That
    happens when jobs kill their worker as a whole, so that no worker lives to write the failure.
    """

    def __init__(self, messaging: Messaging, records: Records) -> None:
        self._messaging = messaging
        self._records = records
        self._events = EventLog(messaging)
        self._letters = DeadLetters(messaging)

    async def handle(self, advisory: Delivery) -> None:
        """Move the message that the advisory names, then acknowledge."""
        try:
            facts = json.loads(advisory.data)
            sequence, deliveries = int(facts["stream_seq"]), int(facts["deliveries"])
        except (ValueError, KeyError, TypeError):
            _log.error("an advisory is unreadable", extra={"subject": advisory.subject})
            await advisory.term()
            return
        try:
            message = await self._messaging.get(topology.JOBS, sequence)
            if message is not None:
                await self._bury(sequence, deliveries, *message)
                await self._messaging.delete(topology.JOBS, sequence)
            await advisory.ack_sync()
        except TesseraError as error:
            _log.warning("a poison message could not be moved yet", extra={"error": str(error)})
            await advisory.nak(2.0)

    async def _bury(self, sequence: int, deliveries: int, subject: str, data: bytes) -> None:
        verb = topology.untoken(subject.rsplit(".", 1)[1])
        try:
            envelope = JobEnvelope.FromString(data)
        except DecodeError:
            envelope = JobEnvelope(request=data)
        if envelope.job_key:
            record = await self._records.find(envelope.method, envelope.job_key)
            if record is not None:
                await self._events.job_done(envelope.run_id, record)
                return
        failure = JobFailure(
            job_key=envelope.job_key,
            method=envelope.method or verb,
            reason="crashed",
            message=f"the worker itself died or hung {deliveries} times while it had this job; see its exit status "
            "(137: out of memory) and give it more memory or a smaller shard",
            attempts=deliveries,
            envelope=envelope,
            exit_code=3,
        )
        await self._letters.add(verb, failure, sequence)
        if envelope.run_id:
            await self._events.job_failed(envelope.run_id, without_envelope(failure), sequence)


def without_envelope(failure: JobFailure) -> JobFailure:
    """Copy for the run's log: the request is in the DLQ."""
    copy = JobFailure()
    copy.CopyFrom(failure)
    copy.ClearField("envelope")
    return copy
