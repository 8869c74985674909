"""Jobs that failed for good: kept with their reason, listed, and put back into the queue on request."""

from __future__ import annotations

import builtins
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from google.protobuf.message import DecodeError

from tessera.errors import BadInput, TesseraError
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure
from tessera.runtime import topology
from tessera.runtime.attempts import Attempts
from tessera.runtime.events import EventLog, again
from tessera.runtime.jobkeys import is_job_key
from tessera.runtime.messaging import Delivery, Messaging
from tessera.runtime.records import Records
from tessera.runtime.seldom import Seldom

_log = logging.getLogger(__name__)
_seldom: Final = Seldom(_log)
_MOST_TRIES: Final = 30
_MOST_SWEEPS: Final = 3
"""How often a job is queued again that used up its deliveries without an attempt (its workers died before that)."""


@dataclass(frozen=True)
class DeadLetter:
    """A failed job: its place in the DLQ, the method's verb, the failure and its time."""

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
            message_id=f"dlq:{failure.job_key[:64]}:{delivery}",
        )

    async def list(self) -> list[DeadLetter]:
        """Return every failed job, oldest first."""
        letters: list[DeadLetter] = []
        for stored in await self._messaging.read(topology.DLQ, "tessera.dlq.*"):
            verb = topology.untoken(stored.subject.rsplit(".", 1)[1])
            letters.append(DeadLetter(stored.sequence, verb, JobFailure.FromString(stored.data), stored.time))
        return letters

    async def requeue(self, job_key: str | None = None) -> builtins.list[DeadLetter]:
        """Queue a failed job again (None: all of them), its attempts counted from zero; return the jobs queued.

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
    """Settles messages that the server no longer delivers: they stay in the stream, and no lag metric shows them.

    Our own count decides. A job whose attempts are used up killed its worker each time, so that no worker could write
    the failure: it becomes a dead letter. A job whose deliveries passed while a server was away is queued again.
    """

    def __init__(self, messaging: Messaging, records: Records, max_attempts: int) -> None:
        self._messaging = messaging
        self._records = records
        self._max_attempts = max_attempts
        self._events = EventLog(messaging)
        self._letters = DeadLetters(messaging)
        self._attempts = Attempts(messaging)

    async def handle(self, advisory: Delivery) -> None:
        """Settle the message that the advisory names, then acknowledge; never raises because of an advisory."""
        try:
            sequence = _sequence(advisory.data)
            if sequence is None:
                _log.error("an advisory is unreadable", extra={"subject": advisory.subject})
                await advisory.term()
                return
            await self.settle(sequence)
            await advisory.ack_sync()
        except TesseraError as error:
            _seldom.warning("a message past its deliveries could not be moved yet", error=str(error))
            await self._later(advisory)
        except Exception:
            _log.exception("an advisory could not be handled", extra={"subject": advisory.subject})
            await self._later(advisory)

    async def _later(self, advisory: Delivery) -> None:
        if advisory.delivered < _MOST_TRIES:
            await advisory.nak(min(2.0 * advisory.delivered, 30.0))
            return
        _log.error("an advisory is given up", extra={"subject": advisory.subject, "tries": advisory.delivered})
        await advisory.term()  # the sweep still finds the message

    async def settle(self, sequence: int) -> None:
        """Queue the job of this message anew, or keep it as a dead letter; then delete the message."""
        message = await self._messaging.get(topology.JOBS, sequence)
        if message is None:
            return
        await self._settle(sequence, *message)
        await self._messaging.delete(topology.JOBS, sequence)

    async def _settle(self, sequence: int, subject: str, data: bytes) -> None:
        verb = topology.untoken(subject.rsplit(".", 1)[1])
        try:
            envelope = JobEnvelope.FromString(data)
        except DecodeError:
            envelope = JobEnvelope(request=data)
        told = topology.is_run_id(envelope.run_id)
        tries = 0
        if is_job_key(envelope.job_key) and envelope.method.lower() == verb:
            record = await self._records.find(envelope.method, envelope.job_key, distrusted=envelope.distrusted)
            if record is not None:
                if told:
                    await self._events.job_done(envelope.run_id, record, sequence)
                return
            tries = await self._attempts.count(envelope.job_key, sequence)
            if tries < self._max_attempts and await self._attempts.swept(envelope.job_key) <= _MOST_SWEEPS:
                _log.warning("a job past its deliveries is queued anew", extra={"job_key": envelope.job_key})
                await self._events.dispatch(envelope, nonce=again(sequence))
                return
        failure = JobFailure(
            job_key=envelope.job_key,
            method=envelope.method or verb,
            reason="crashed",
            message="the worker itself died or hung each time it had this job; see its exit status (137: out of "
            "memory) and give it more memory or a smaller shard",
            attempts=tries,
            envelope=envelope,
            exit_code=3,
        )
        await self._letters.add(verb, failure, sequence)
        if told:
            await self._events.job_failed(envelope.run_id, without_envelope(failure), sequence)


def without_envelope(failure: JobFailure) -> JobFailure:
    """Return a copy for the run's log, without the request, which is in the DLQ."""
    copy = JobFailure()
    copy.CopyFrom(failure)
    copy.ClearField("envelope")
    return copy


def _sequence(data: bytes) -> int | None:
    """Return the stream sequence that an advisory names, or None where it names none."""
    try:
        found = json.loads(data)["stream_seq"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if type(found) is int and 0 < found < 1 << 63 else None
