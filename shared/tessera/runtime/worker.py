"""The JetStream door: fetch one job, keep it alive, perform it, publish its end, acknowledge."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from google.protobuf.message import DecodeError, Message

from tessera.errors import BadInput, Cancelled, ChildCrashed, Conflict, CorruptObject, TesseraError, Unavailable
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from tessera.runtime import errors, failpoints, observing, topology
from tessera.runtime.attempts import Attempt, Attempts
from tessera.runtime.dead_letters import DeadLetters, without_envelope
from tessera.runtime.events import EventLog, JobProgress, again
from tessera.runtime.execution import Execution
from tessera.runtime.gate import ShuttingDown
from tessera.runtime.heartbeat import Beats, heartbeat
from tessera.runtime.jobkeys import is_job_key, job_key
from tessera.runtime.messaging import Delivery, Messaging, Pull
from tessera.runtime.method import Method
from tessera.runtime.seldom import Seldom
from tessera.runtime.settings import Settings

_log = logging.getLogger(__name__)
_FIRST_PASS_SECONDS: Final = 1.0
_LONGEST_PASS_SECONDS: Final = 5.0
_LONGEST_HOLD_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 1.0


@dataclass
class StopSignals:
    """Signals for workers to leave: ``draining`` ends fetching, ``now`` ends running jobs.

    Jobs that were fetched and still wait for cores end in between, by ``ComputePool.drain``.
    """

    draining: asyncio.Event
    now: asyncio.Event


class OtherVersion(TesseraError):
    """The job's key was made by another version of its method; a worker of that version may be able to do it."""

    def __init__(self, text: str, envelope: JobEnvelope) -> None:
        super().__init__(text)
        self.envelope = envelope


@dataclass
class _Held:
    """A fetched delivery: its envelope, heartbeat and attempt, each once it is known."""

    delivery: Delivery
    beats: Beats = field(default_factory=Beats)
    envelope: JobEnvelope | None = None
    attempt: Attempt | None = None


class Worker:
    """Performs one method's jobs, ``slots`` at a time, until told to stop. A job never makes it raise."""

    def __init__(
        self,
        method: Method,
        messaging: Messaging,
        execution: Execution,
        settings: Settings,
        stop: StopSignals,
        slots: int = 1,
    ) -> None:
        self._method = method
        self._messaging = messaging
        self._execution = execution
        self._settings = settings
        self._stop = stop
        self._slots = slots
        self._events = EventLog(messaging)
        self._letters = DeadLetters(messaging)
        self._attempts = Attempts(messaging)
        self._seldom = Seldom(_log)
        self._cancelled: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    async def run(self) -> None:
        """Work until ``stop.draining`` is set and the jobs in hand have ended."""
        observing.begin(self._method.name)
        # One binding fetches for all slots: each idle one costs a message every second or two.
        pull = await self._messaging.bind(topology.JOBS, topology.consumer_name(self._method.verb))
        free = asyncio.Semaphore(self._slots)
        async with asyncio.TaskGroup() as group:
            while not self._stop.draining.is_set():
                await free.acquire()
                delivery = None if self._stop.draining.is_set() else await self._fetch(pull)
                if delivery is None:
                    free.release()
                else:
                    group.create_task(self._settle(delivery)).add_done_callback(lambda _: free.release())
            await pull.close()

    async def _fetch(self, pull: Pull) -> Delivery | None:
        try:
            return await pull.fetch(min(self._settings.fetch_expires, 5.0))
        except Unavailable as error:
            self._seldom.warning("no jobs for now", self._method.name, error=str(error))
            return None

    async def _settle(self, delivery: Delivery) -> None:
        """Process one delivery to its end; a failure in between ends in another delivery."""
        failpoints.reached("fetched")
        held = _Held(delivery)
        # Around everything, not only the computation: storing and publishing wait for servers, too.
        async with heartbeat(delivery, self._settings.heartbeat) as held.beats:
            with self._execution.activity.busy(), observing.job(self._method.name, delivery.headers):
                try:
                    await self._handle(held)
                except (Unavailable, Conflict) as error:
                    observing.outcome("postponed", error)
                    await self._postpone(held, error)
                except Exception as error:
                    observing.outcome("broken", error)
                    # A bug of ours. Not queued again: after the server's last delivery the sweep decides.
                    _log.exception("a job could not be settled", extra={"method": self._method.name})
                    with contextlib.suppress(TesseraError):
                        await delivery.nak(5.0)

    async def _handle(self, held: _Held) -> None:
        delivery = held.delivery
        try:
            envelope, request = await self._decode(delivery.data)
        except OtherVersion as error:
            await self._pass_on(delivery, error)
            return
        except (BadInput, CorruptObject) as error:
            await self._fail(delivery, _envelope(delivery.data), error, 1)
            return
        held.envelope = envelope
        observing.about(envelope.run_id, envelope.job_key)
        if await self._events.is_cancelled(envelope.run_id):
            observing.outcome("cancelled")
            await delivery.term()
            return
        held.attempt = attempt = await self._attempts.begin(envelope.job_key, delivery.sequence)
        if attempt.number > self._settings.max_attempts:
            crash = ChildCrashed(attempt.last_message or "the worker itself died each time it had this job")
            await self._fail(delivery, envelope, crash, attempt.number - 1)
            return
        try:
            record = await self._perform(held, envelope, request, attempt)
        except ShuttingDown:
            observing.outcome("given_back")
            await self._attempts.refund(envelope.job_key, delivery.sequence, attempt)
            held.attempt = None
            await self._give_back(delivery, envelope, 0)
        except Cancelled:
            observing.outcome("cancelled")
            await delivery.term()
        except Unavailable:
            raise
        except Exception as error:
            await self._retry_or_fail(delivery, envelope, attempt, error)
        else:
            await self._events.job_done(envelope.run_id, record, delivery.sequence)
            failpoints.reached("event")
            await delivery.ack_sync()
            observing.outcome("done")
            failpoints.reached("acked")

    async def _decode(self, data: bytes) -> tuple[JobEnvelope, Message]:
        try:
            envelope = JobEnvelope.FromString(data)
            if envelope.run_id:
                topology.run_token(envelope.run_id)
            if envelope.method != self._method.name:
                raise BadInput(
                    f"job on {self._method.verb}: names method {envelope.method[:80]!r}, not {self._method.name}"
                )
            content = envelope.request
            if envelope.HasField("request_ref"):
                content = await self._execution.request_of(self._method, envelope, self._settings.request_bytes)
            request = self._method.request.FromString(content)
        except DecodeError:
            raise BadInput(f"{self._method.name} job: is not a readable job envelope") from None
        mine = self._method.algorithm
        expected = job_key(self._method.name, mine, request)
        if envelope.job_key != expected:
            text = (
                f"{self._method.name} job: its key is {envelope.job_key[:80]!r}, its content has {expected} under "
                f"{mine}; it is damaged, or coordinator and worker are of different versions"
            )
            if not is_job_key(envelope.job_key) or (envelope.algorithm == mine and not _has_unknown_fields(request)):
                raise BadInput(text)
            raise OtherVersion(text, envelope)
        return envelope, request

    async def _perform(self, held: _Held, envelope: JobEnvelope, request: Message, attempt: Attempt) -> JobRecord:
        """Perform with heartbeats; Cancelled when the run is, ShuttingDown when this worker has to leave."""
        # One per run: jobs that wait see a cancellation that another job noticed before their turn.
        cancelled = self._cancelled.setdefault(envelope.run_id, asyncio.Event())
        telling: set[asyncio.Task[None]] = set()

        async def look() -> None:
            if await self._events.is_cancelled(envelope.run_id):
                cancelled.set()

        def on_progress(fraction: float, note: str) -> None:
            progress = JobProgress(envelope.job_key, self._method.name, fraction, note)
            task = asyncio.ensure_future(self._events.tell_progress(envelope.run_id, progress))
            telling.add(task)
            task.add_done_callback(telling.discard)

        job = asyncio.create_task(
            self._execution.perform(self._method, request, attempt.number, on_progress, envelope.distrusted)
        )
        watchers = [asyncio.create_task(event.wait()) for event in (cancelled, self._stop.now)]
        # For a long job cancellation is checked apart from the heartbeats, which come too seldom for people who wait.
        often = asyncio.create_task(_repeat(look, _LOOK_SECONDS)) if self._method.checkpoints else None
        try:
            held.beats.on_beat = look
            await asyncio.wait([job, *watchers], return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                job.cancel()  # the pool kills the job's child
                await asyncio.wait([job])
        finally:
            held.beats.on_beat = None
            for task in (job, *watchers, *([often] if often else [])):
                task.cancel()
        if job.cancelled():
            if cancelled.is_set():
                raise Cancelled(f"run {envelope.run_id}: was cancelled")
            raise ShuttingDown(f"{self._method.name}: the worker has to go")
        return job.result()

    async def _retry_or_fail(
        self, delivery: Delivery, envelope: JobEnvelope, attempt: Attempt, error: Exception
    ) -> None:
        delay = next_delay(error, attempt, self._settings.max_attempts)
        facts = {"method": self._method.name, "job_key": envelope.job_key, "attempt": attempt.number}
        if delay is None:
            _log.error("job failed", extra={**facts, "error": str(error)}, exc_info=_trace(error))
            await self._fail(delivery, envelope, error, attempt.number)
            return
        _log.warning("job will be tried again", extra={**facts, "error": str(error), "delay": round(delay, 1)})
        observing.outcome("retried", error)
        known = errors.as_error(error)
        await self._attempts.end(envelope.job_key, delivery.sequence, attempt, known.reason, str(known))
        await self._give_back(delivery, envelope, delay)

    async def _postpone(self, held: _Held, error: TesseraError) -> None:
        """Give back a job that waits for a server, and say so in the run's note; it never counts as an attempt."""
        delivery, envelope = held.delivery, held.envelope or _envelope(held.delivery.data)
        self._seldom.warning("jobs wait", self._method.name, error=str(error))
        with contextlib.suppress(TesseraError):
            if envelope.run_id and envelope.job_key:
                waiting = JobProgress(envelope.job_key, self._method.name, 0.0, f"waiting: {error}"[:200])
                await self._events.tell_progress(envelope.run_id, waiting)
        if held.attempt is not None and isinstance(error, Unavailable):
            await self._take_back(envelope.job_key, delivery.sequence, held.attempt)
        try:
            await self._give_back(delivery, envelope, errors.outage_delay(delivery.delivered))
        except TesseraError as again:
            self._seldom.warning("jobs could not be given back", self._method.name, error=str(again))

    async def _take_back(self, key: str, sequence: int, attempt: Attempt) -> None:
        """Take the attempt off the count; while NATS has no room for that, the delivery is held."""
        while True:
            try:
                await self._attempts.refund(key, sequence, attempt)
                return
            except Unavailable as error:
                if self._stop.draining.is_set():
                    return
                self._seldom.warning("attempts wait to be taken back", self._method.name, error=str(error))
                await self._pause(1.0)

    async def _pass_on(self, delivery: Delivery, error: OtherVersion) -> None:
        """Give a job back for a worker of its version; fail it once it was passed on for longer than is allowed."""
        envelope, patience = error.envelope, self._settings.version_patience
        waited = await self._attempts.passed(envelope.job_key, 0.0)
        if waited >= patience:
            theirs = envelope.algorithm or "a version that its coordinator does not name"
            failure = Unavailable(
                f"{self._method.name} job: wants {theirs}, the workers have {self._method.algorithm}; no worker that "
                f"matches took it within {patience:g} s. Start workers of the coordinator's version, or submit the run "
                "to a coordinator of the workers' version"
            )
            _log.error("job failed", extra={"method": self._method.name, "error": str(failure), "detail": str(error)})
            await self._fail(delivery, envelope, failure, delivery.delivered)
            await self._attempts.forget_passing(envelope.job_key)
            return
        observing.outcome("passed_on")
        delay = min(max(waited, _FIRST_PASS_SECONDS), _LONGEST_PASS_SECONDS)
        self._seldom.warning("jobs of another version are passed on", self._method.name, error=str(error))
        await self._attempts.passed(envelope.job_key, delay)
        await self._give_back(delivery, envelope, delay)

    async def _give_back(self, delivery: Delivery, envelope: JobEnvelope, delay: float) -> None:
        """Have the job delivered again, even past the server's count of deliveries, which includes outages.

        At the server's last delivery the job is queued again, and held while the queue is full.
        """
        if delivery.delivered <= self._settings.max_attempts:
            await delivery.nak(delay)
            return
        await self._pause(min(delay, _LONGEST_HOLD_SECONDS))
        while True:
            try:
                await self._events.dispatch(envelope, nonce=again(delivery.sequence))
                break
            except Unavailable as error:
                if self._stop.draining.is_set():
                    raise
                self._seldom.warning(
                    "jobs are held until they can be queued again", self._method.name, error=str(error)
                )
                await self._pause(1.0)
        await delivery.term()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until this worker has to leave."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.draining.wait()

    async def _fail(self, delivery: Delivery, envelope: JobEnvelope, error: Exception, attempts: int) -> None:
        """Store the failure, publish it to the run, and only then delete the message."""
        observing.failed(self._method.name, error)
        known = errors.as_error(error)
        failure = JobFailure(
            job_key=envelope.job_key,
            method=self._method.name,
            reason=known.reason,
            message=str(known),
            attempts=attempts,
            envelope=envelope,
            exit_code=known.exit_code,
            object=known.ref if isinstance(known, CorruptObject) else None,
        )
        await self._letters.add(self._method.verb, failure, delivery.sequence)
        if topology.is_run_id(envelope.run_id):
            await self._events.job_failed(envelope.run_id, without_envelope(failure), delivery.sequence)
        await delivery.term()


async def _repeat(look: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        with contextlib.suppress(Unavailable):
            await look()


def next_delay(error: BaseException, attempt: Attempt, max_attempts: int) -> float | None:
    """Return the seconds until the next attempt by the table of ``runtime.errors``; None: the job has failed for good.

    A failure that gets only one more attempt is counted by its kind: an outage before a crash does not use that up.
    """
    if errors.outcome(error).attempts != errors.UNCOUNTED and attempt.number >= max_attempts:
        return None
    own = 1 + attempt.earlier.count(errors.as_error(error).reason)
    number = attempt.number if errors.outcome(error).attempts == errors.ANY else own
    return errors.retry_delay(error, number, max_attempts)


def _envelope(data: bytes) -> JobEnvelope:
    """Parse the envelope, or keep the bytes for a reader of the DLQ."""
    try:
        return JobEnvelope.FromString(data)
    except DecodeError:
        return JobEnvelope(request=data)


def _has_unknown_fields(request: Message) -> bool:
    """Return whether the message has fields that this version does not know."""
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    return known.ByteSize() != request.ByteSize()


def _trace(error: Exception) -> Exception | None:
    """Return the error if it is a bug, whose trace is logged; None for our own errors."""
    return None if isinstance(error, TesseraError) else error
