"""The event log of runs, and the jobs and progress around it: everything a coordinator says and hears."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

from google.protobuf.message import DecodeError

from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from tessera.pb.runs_pb2 import JobDone, JobFailed, RunEvent
from tessera.runtime import envelopes, topology
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.streams import Stored

_log = logging.getLogger(__name__)
_ALL = "*"


class Logged(NamedTuple):
    """An event with its place: ``sequence`` counts over all runs and only grows."""

    run_id: str
    sequence: int
    event: RunEvent


@dataclass(frozen=True)
class Progress:
    """How far a running job is, ``fraction`` in 0..1."""

    job_key: str
    method: str
    fraction: float
    note: str = ""


class EventLog:
    """Events of all runs. Two subjects a run: its log (coordinators write) and its jobs' ends (workers write)."""

    def __init__(self, messaging: Messaging, store: ObjectStore | None = None, message_bytes: int = 0) -> None:
        """``store`` takes the requests of jobs that do not fit a message of ``message_bytes``."""
        self._messaging = messaging
        self._store, self._message_bytes = store, message_bytes

    async def append(self, run_id: str, event: RunEvent, expected_last_sequence: int) -> int:
        """Add to the run's log and return the event's sequence; Conflict when another coordinator was faster.

        ``expected_last_sequence`` is the sequence of the last event that came from ``append`` (all kinds but JobDone
        and JobFailed), 0 for a new run.
        """
        stored = RunEvent()
        stored.CopyFrom(event)
        stored.ClearField("time")
        published = await self._messaging.publish(
            topology.log_subject(run_id),
            stored.SerializeToString(deterministic=True),
            expected_last=expected_last_sequence,
        )
        return published.sequence

    async def read(self, run_id: str) -> list[tuple[int, RunEvent]]:
        """Every event of a run in order, ``time`` set from the server; empty for an unknown run."""
        stored = await self._messaging.read(topology.EVENTS, _both(run_id))
        return [(logged.sequence, logged.event) for logged in map(_decode, stored) if logged is not None]

    async def run_ids(self) -> list[str]:
        """Every run that has events, sorted."""
        stored = await self._messaging.read(topology.EVENTS, topology.log_subject("x").replace(".x.", f".{_ALL}."))
        return sorted({topology.untoken(one.subject.split(".")[2]) for one in stored})

    async def follow(self, run_id: str | None = None, from_sequence: int = 1) -> AsyncIterator[Logged]:
        """Events of a run (None: of all runs) from a sequence on, for ever; survives restarts of NATS without a gap."""
        async for stored in self._messaging.follow(topology.EVENTS, _both(run_id), from_sequence):
            logged = _decode(stored)
            if logged is not None:
                yield logged

    async def dispatch(self, envelope: JobEnvelope, nonce: str = "") -> bool:
        """Queue a job; False when the same job of the run was queued within the duplicate window and so is not again.

        Give a ``nonce`` (the sequence of the RunResumed event, say) to queue a job once more that failed a moment ago.
        """
        envelope = await envelopes.pack(envelope, self._store, self._message_bytes)
        method_id = ":".join(filter(None, (envelope.run_id, envelope.job_key, nonce)))
        published = await self._messaging.publish(
            topology.job_subject(envelope.method.lower()),
            envelope.SerializeToString(deterministic=True),
            message_id=method_id,
        )
        return not published.duplicate

    async def job_done(self, run_id: str, record: JobRecord) -> None:
        """Tell the run that a job has its result; any number of times counts once within the duplicate window."""
        event = RunEvent(job_done=JobDone(record=record))
        await self._publish_result(run_id, event, f"{run_id}:{record.job_key}:done")

    async def job_failed(self, run_id: str, failure: JobFailure, delivery: int) -> None:
        """Tell the run that a job ended without a result; ``delivery`` is the job message's stream sequence."""
        event = RunEvent(job_failed=JobFailed(failure=failure))
        await self._publish_result(run_id, event, f"{run_id}:{failure.job_key}:failed:{delivery}")

    async def _publish_result(self, run_id: str, event: RunEvent, message_id: str) -> None:
        data = event.SerializeToString(deterministic=True)
        await self._messaging.publish(topology.result_subject(run_id), data, message_id=message_id)

    async def cancel(self, run_id: str, reason: str) -> None:
        """Make workers drop the run's jobs; idempotent."""
        await self._messaging.kv_put(topology.CANCELLED, topology.token(run_id), reason.encode() or b"cancelled")

    async def uncancel(self, run_id: str) -> None:
        """Let workers take the run's jobs again; idempotent."""
        await self._messaging.kv_delete(topology.CANCELLED, topology.token(run_id))

    async def is_cancelled(self, run_id: str) -> bool:
        """Whether workers are to drop the run's jobs."""
        if not run_id:
            return False
        return await self._messaging.kv_get(topology.CANCELLED, topology.token(run_id)) is not None

    async def tell_progress(self, run_id: str, progress: Progress) -> None:
        """Say how far a job is, to whoever listens; lost when nobody does."""
        if run_id:
            data = json.dumps(asdict(progress)).encode()
            await self._messaging.tell(topology.progress_subject(run_id), data)

    async def progress(self, run_id: str) -> AsyncIterator[Progress]:
        """Progress of the run's jobs from now on."""
        async for _, data in self._messaging.listen(topology.progress_subject(run_id)):
            try:
                fields = json.loads(data)
                yield Progress(
                    str(fields["job_key"]), str(fields["method"]), float(fields["fraction"]), str(fields["note"])
                )
            except (ValueError, KeyError, TypeError):
                continue


def _both(run_id: str | None) -> str:
    return f"tessera.event.{topology.token(run_id) if run_id is not None else _ALL}.*"


def _decode(stored: Stored) -> Logged | None:
    try:
        event = RunEvent.FromString(stored.data)
    except DecodeError:
        _log.error("an event is unreadable and is left out", extra={"sequence": stored.sequence})
        return None
    event.time.FromDatetime(stored.time)
    return Logged(topology.untoken(stored.subject.split(".")[2]), stored.sequence, event)
