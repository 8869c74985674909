"""The event log, jobs and progress of runs: all messages that coordinators and workers exchange."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from tessera.errors import Conflict, CorruptObject, Unavailable
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from tessera.pb.runs_pb2 import JobDone, JobFailed, RunEvent, RunFailed, RunSpec, RunView
from tessera.runtime import archives, envelopes, failpoints, run_specs, step_keys, topology
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.streams import Published, StoredMessage

_log = logging.getLogger(__name__)
_ALL = "*"
_FROM_WORKERS = ("job_done", "job_failed")


class Logged(NamedTuple):
    """An event with its place: ``sequence`` counts over all runs and only grows."""

    run_id: str
    sequence: int
    event: RunEvent


@dataclass(frozen=True)
class JobProgress:
    """How far a running job is, ``fraction`` in 0..1."""

    job_key: str
    method: str
    fraction: float
    note: str = ""


class EventLog:
    """Events of all runs. Two subjects per run: its log (coordinators write) and its jobs' ends (workers write)."""

    def __init__(self, messaging: Messaging, store: ObjectStore | None = None, message_bytes: int = 0) -> None:
        """``store`` takes the requests of jobs that do not fit a message of ``message_bytes``."""
        self._messaging = messaging
        self._store, self._message_bytes = store, message_bytes

    @property
    def connected(self) -> bool:
        """Return whether NATS can be reached at this moment."""
        return self._messaging.connected

    async def keep(self, spec: RunSpec) -> None:
        """Store the submitted spec, from which a run whose log is lost starts again."""
        if self._store is not None:
            await run_specs.keep(self._store, spec)

    async def kept(self, run_id: str) -> RunSpec | None:
        """Return the spec that the store has of a run; None where it has none that can be read."""
        with contextlib.suppress(CorruptObject):
            return await run_specs.find(self._store, run_id) if self._store is not None else None
        return None

    async def append(self, run_id: str, event: RunEvent, expected_last_sequence: int) -> int:
        """Add to the run's log and return the event's sequence; Conflict when another coordinator was faster.

        ``expected_last_sequence`` is the sequence of the last event that came from ``append`` (all kinds but JobDone
        and JobFailed), 0 for a new run.
        """
        stored = RunEvent()
        stored.CopyFrom(await step_keys.pack(event, self._store))
        stored.ClearField("time")
        published = await self._messaging.publish(
            topology.log_subject(run_id),
            stored.SerializeToString(deterministic=True),
            expected_last=expected_last_sequence,
        )
        if self._store is not None and event.HasField("submitted"):
            spec = json_format.MessageToJson(event.submitted.spec, preserving_proto_field_name=True, sort_keys=True)
            try:
                await self._store.put(archives.spec_key(run_id), spec.encode(), "application/json")
            except Unavailable as error:
                # The run works without it; but if NATS were lost before the run is archived, gc would not know of the
                # run.
                _log.warning("a run is not named in the store", extra={"run": run_id, "error": str(error)})
        return published.sequence

    async def read(self, run_id: str) -> list[tuple[int, RunEvent]]:
        """Return every event of a run in order, ``time`` set from the server; empty for an unknown run."""
        return [one async for batch in self.scan(run_id) for one in batch]

    async def scan(self, run_id: str, *, packed: bool = False) -> AsyncIterator[archives.Events]:
        """Yield the events of ``read`` in batches, archived events and stored job keys filled in.

        ``packed`` leaves both as they are stored.
        """
        known = False
        async for batch in self._messaging.batches(topology.EVENTS, _both(run_id)):
            events = [(one.sequence, one.event) for one in map(_decode, batch) if one is not None]
            if packed:
                yield events
                continue
            for place, (_, event) in enumerate(events):
                known = known or event.HasField("submitted")
                if event.HasField("archived") and not known:
                    # The log holds events of the archive only when their deletion was interrupted.
                    yield await self._whole(events[:place])
                    events = events[place + 1 :]
                    async for archived in archives.read(archives.store_of(self._store), event.archived):
                        yield await self._whole(archived)
                    known = True
                    break
            yield await self._whole(events)

    async def _whole(self, events: archives.Events) -> archives.Events:
        return [(sequence, await self.unpack(event)) for sequence, event in events]

    async def unpack(self, event: RunEvent) -> RunEvent:
        """Return an event as it was appended, with the keys of a large step read from the store."""
        try:
            return await step_keys.unpack(event, self._store)
        except CorruptObject as error:
            # Planned again, the step has the same keys, and they are stored again.
            return _damaged(f"the step that the run's log starts cannot be read ({error})", event)

    async def run_ids(self) -> list[str]:
        """Return every run that has events, sorted."""
        found = await self._messaging.subjects(topology.EVENTS, f"tessera.event.{_ALL}.log")
        names = (topology.untoken(subject.split(".")[2]) for subject in found)
        return sorted(name for name in names if topology.is_run_id(name))

    async def position(self) -> int:
        """Return the sequence of the newest event of all."""
        return await self._messaging.position(topology.EVENTS)

    async def follow(self, run_id: str | None = None, from_sequence: int = 1) -> AsyncIterator[Logged]:
        """Yield the events of a run (None: of all) from a sequence on, for ever, without gaps when NATS restarts."""
        async for batch in self.changes(run_id, from_sequence):
            for logged in batch:
                yield logged

    async def changes(self, run_id: str | None = None, from_sequence: int = 1) -> AsyncIterator[list[Logged]]:
        """Yield the events of ``follow`` in batches of those that have arrived."""
        async for batch in self._messaging.batches(topology.EVENTS, _both(run_id), from_sequence, follow=True):
            yield [logged for logged in map(_decode, batch) if logged is not None]

    async def archive(self, run_id: str, head: RunView, expected_last_sequence: int) -> None:
        """Move the log of a run that has ended into the store; Conflict when the run goes on meanwhile.

        ``head`` is the run's picture without its rounds.
        """
        store = archives.store_of(self._store)
        archive = await archives.write(store, self.scan(run_id, packed=True))
        archive.view.CopyFrom(head)
        await archives.remember(store, run_id, archive)
        failpoints.reached("archive")
        sequence = await self.append(run_id, RunEvent(archived=archive), expected_last_sequence)
        failpoints.reached("archived")
        await self.drop_archived(run_id, sequence)

    async def restore(self) -> list[str]:
        """Append archive events for archived runs that NATS has lost; return their names."""
        if self._store is None:
            return []
        known, found = set(await self.run_ids()), []
        for run_id in archives.runs_of(await self._store.list(archives.PREFIX)):
            if run_id in known or not topology.is_run_id(run_id):
                continue
            try:
                archive = await archives.remembered(self._store, run_id)
                if archive is not None:
                    await self.append(run_id, RunEvent(archived=archive), 0)
                    found.append(run_id)
            except Conflict:
                continue
            except CorruptObject as error:
                _log.error("an archived run is lost", extra={"run": run_id, "error": str(error)})
        return found

    async def drop_archived(self, run_id: str, sequence: int) -> None:
        """Delete what the archive event at ``sequence`` replaces, and job ends told until now; idempotent.

        A job that was delivered twice may tell its end while the log is archived, or later. Nothing is lost with it:
        the run has ended, and if it is resumed, the job's record is found by its key.
        """
        # In this order: an archive is read where the log has lost its beginning.
        await self._messaging.purge(topology.EVENTS, topology.log_subject(run_id), sequence)
        failpoints.reached("purged")
        # Also in this order: where the archive is still the last word, whoever resumes the run comes after ``newest``.
        newest = await self._messaging.position(topology.EVENTS)
        if await self._messaging.last_sequence(topology.EVENTS, topology.log_subject(run_id)) == sequence:
            await self._messaging.purge(topology.EVENTS, topology.result_subject(run_id), newest + 1)

    async def dispatch(self, envelope: JobEnvelope, nonce: str = "") -> Published:
        """Queue a job; within the duplicate window the same job of a run is queued once.

        With another ``nonce`` (such as the sequence of the RunResumed event) it is queued again within the window.
        """
        envelope = await envelopes.pack(envelope, self._store, self._message_bytes)
        method_id = ":".join(filter(None, (envelope.run_id, envelope.job_key, nonce)))
        return await self._messaging.publish(
            topology.job_subject(envelope.method.lower()),
            envelope.SerializeToString(deterministic=True),
            message_id=method_id,
        )

    async def is_queued(self, sequence: int) -> bool:
        """Return whether the job message of this sequence is still in the queue, waiting or in a worker's hands."""
        return await self._messaging.get(topology.JOBS, sequence) is not None

    async def queued(self, method: str, at_most: int = 10_000) -> dict[tuple[str, str], int]:
        """Return the sequences of a method's first ``at_most`` queued jobs by run and job key."""
        found: dict[tuple[str, str], int] = {}
        subject = topology.job_subject(method.lower())
        for sequence in await self._messaging.sequences(topology.JOBS, subject, None, at_most=at_most):
            message = await self._messaging.get(topology.JOBS, sequence)
            if message is not None:
                with contextlib.suppress(DecodeError):
                    envelope = JobEnvelope.FromString(message[1])
                    found[envelope.run_id, envelope.job_key] = sequence
        return found

    async def job_done(self, run_id: str, record: JobRecord, delivery: int = 0) -> None:
        """Publish that a job has its result; repeated within the duplicate window it counts once.

        ``delivery`` is the job message's stream sequence: a job that is queued again publishes its end again.
        """
        event = RunEvent(job_done=JobDone(record=record))
        await self._publish_result(run_id, event, f"{run_id}:{record.job_key}:done:{delivery}")

    async def job_failed(self, run_id: str, failure: JobFailure, delivery: int) -> None:
        """Tell the run that a job ended without a result; ``delivery`` is the job message's stream sequence."""
        event = RunEvent(job_failed=JobFailed(failure=failure))
        await self._publish_result(run_id, event, f"{run_id}:{failure.job_key}:failed:{delivery}")

    async def _publish_result(self, run_id: str, event: RunEvent, message_id: str) -> None:
        data = event.SerializeToString(deterministic=True)
        await self._messaging.publish(topology.result_subject(run_id), data, message_id=message_id)

    async def cancel(self, run_id: str, reason: str) -> None:
        """Make workers drop the run's jobs; idempotent."""
        await self._messaging.kv_put(topology.CANCELLED, topology.run_token(run_id), reason.encode() or b"cancelled")

    async def uncancel(self, run_id: str) -> None:
        """Let workers take the run's jobs again; idempotent."""
        await self._messaging.kv_delete(topology.CANCELLED, topology.run_token(run_id))

    async def is_cancelled(self, run_id: str) -> bool:
        """Return whether the run is cancelled, so that workers drop its jobs."""
        if not run_id:
            return False
        return await self._messaging.kv_get(topology.CANCELLED, topology.run_token(run_id)) is not None

    async def tell_progress(self, run_id: str, progress: JobProgress) -> None:
        """Publish a job's progress; it is not stored."""
        if run_id:
            data = json.dumps(asdict(progress)).encode()
            await self._messaging.tell(topology.progress_subject(run_id), data)

    async def progress(self, run_id: str) -> AsyncIterator[JobProgress]:
        """Yield the progress of the run's jobs from now on."""
        async for _, data in self._messaging.listen(topology.progress_subject(run_id)):
            try:
                fields = json.loads(data)
                yield JobProgress(
                    str(fields["job_key"]), str(fields["method"]), float(fields["fraction"]), str(fields["note"])
                )
            except (ValueError, KeyError, TypeError):
                continue


def again(sequence: int) -> str:
    """Return the nonce under which a job is queued again for message ``sequence``, so that it is queued once."""
    return f"again-{sequence}"


def _both(run_id: str | None) -> str:
    return f"tessera.event.{topology.run_token(run_id) if run_id is not None else _ALL}.*"


def _decode(stored: StoredMessage) -> Logged | None:
    """Read a message of the log; None for a job's end that cannot be read.

    A decision that cannot be read fails its run alone: nothing can be planned after it. Resuming the run decides anew.
    A job's end that cannot be read counts as lost, and its job is queued again.
    """
    parts = stored.subject.split(".")
    run_id, decision = topology.untoken(parts[2]), parts[-1] == "log"
    if not topology.is_run_id(run_id):
        _log.error("an event of a run that cannot be is left out", extra={"sequence": stored.sequence})
        return None
    try:
        event = RunEvent.FromString(stored.data)
        fits = decision != (event.WhichOneof("kind") in _FROM_WORKERS)
    except DecodeError:
        fits = False
    if not fits:
        _log.error("an event is unreadable", extra={"run": run_id, "sequence": stored.sequence})
        if not decision:
            return None
        event = _damaged(f"event {stored.sequence} of the run's log is damaged", RunEvent())
    event.time.FromDatetime(stored.time)
    return Logged(run_id, stored.sequence, event)


def _damaged(what: str, event: RunEvent) -> RunEvent:
    """Make the event that replaces an unreadable one."""
    message = f"{what}; tessera resume decides anew from there"
    return RunEvent(failed=RunFailed(message=message, exit_code=CorruptObject.exit_code), time=event.time)
