"""The JetStream door: fetch one job, keep it alive, perform it, tell the run, acknowledge."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from weakref import WeakValueDictionary

from google.protobuf.message import DecodeError, Message

from tessera.errors import BadInput, Cancelled, ChildCrashed, CorruptObject, TesseraError, Unavailable
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from tessera.runtime import errors, failpoints, topology
from tessera.runtime.attempts import Attempt, Attempts
from tessera.runtime.dead_letters import DeadLetters, without_envelope
from tessera.runtime.events import EventLog, Progress
from tessera.runtime.execution import Execution
from tessera.runtime.gate import ShuttingDown
from tessera.runtime.heartbeat import heartbeat
from tessera.runtime.jobkeys import job_key
from tessera.runtime.messaging import Delivery, Messaging, Pull
from tessera.runtime.method import Method
from tessera.runtime.settings import Settings

_log = logging.getLogger(__name__)


@dataclass
class Stop:
    """How workers are told to leave: ``draining`` ends fetching, ``now`` ends what still runs.

    Jobs that are in hand but still wait for their cores end in between, by ``ComputePool.drain``.
    """

    draining: asyncio.Event
    now: asyncio.Event


class Worker:
    """Performs one method's jobs, ``slots`` at a time, until told to stop. It never raises for a job's sake."""

    def __init__(
        self, method: Method, messaging: Messaging, execution: Execution, settings: Settings, stop: Stop, slots: int = 1
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
        self._cancelled: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    async def run(self) -> None:
        """Work until ``stop.draining`` is set and the jobs in hand have ended."""
        # One that fetches for all slots: an idle binding costs the server and us a message every second or two.
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
            _log.warning("no jobs for now", extra={"method": self._method.name, "error": str(error)})
            return None

    async def _settle(self, delivery: Delivery) -> None:
        """See one delivery to its end; whatever goes wrong with NATS here ends in redelivery."""
        failpoints.reached("fetched")
        try:
            await self._handle(delivery)
        except TesseraError as error:
            _log.warning("a job could not be settled", extra={"method": self._method.name, "error": str(error)})
        except Exception:
            _log.exception("a job could not be settled", extra={"method": self._method.name})
            with contextlib.suppress(Unavailable):
                await delivery.nak(5.0)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            envelope, request = await self._decode(delivery.data)
        except (BadInput, CorruptObject) as error:
            await self._fail(delivery, _envelope(delivery.data), error, 1)
            return
        if await self._events.is_cancelled(envelope.run_id):
            await delivery.term()
            return
        attempt = await self._attempts.begin(envelope.job_key, delivery.sequence)
        if attempt.number > self._settings.max_attempts:
            crash = ChildCrashed(attempt.last_message or "the worker itself died each time it had this job")
            await self._fail(delivery, envelope, crash, attempt.number - 1)
            return
        try:
            record = await self._perform(delivery, envelope, request, attempt)
        except ShuttingDown:
            await self._attempts.refund(envelope.job_key, delivery.sequence, attempt)
            await self._give_back(delivery, envelope, 0)
        except Cancelled:
            await delivery.term()
        except Exception as error:
            await self._retry_or_fail(delivery, envelope, attempt, error)
        else:
            await self._events.job_done(envelope.run_id, record)
            failpoints.reached("event")
            await delivery.ack_sync()
            failpoints.reached("acked")

    async def _decode(self, data: bytes) -> tuple[JobEnvelope, Message]:
        try:
            envelope = JobEnvelope.FromString(data)
            content = envelope.request
            if envelope.HasField("request_ref"):
                content = await self._execution.request_of(self._method, envelope, self._settings.grpc_message_bytes)
            request = self._method.request.FromString(content)
        except DecodeError:
            raise BadInput(f"{self._method.name} job: is not a readable job envelope") from None
        if envelope.method != self._method.name:
            raise BadInput(
                f"job on {self._method.verb}: names method {envelope.method[:80]!r}, not {self._method.name}"
            )
        expected = job_key(self._method.name, self._method.algorithm, request)
        if envelope.job_key != expected:
            raise BadInput(
                f"{self._method.name} job: its key is {envelope.job_key[:80]!r}, its content has {expected} under "
                f"{self._method.algorithm}; coordinator and worker are of different versions"
            )
        return envelope, request

    async def _perform(
        self, delivery: Delivery, envelope: JobEnvelope, request: Message, attempt: Attempt
    ) -> JobRecord:
        """Perform under heartbeats; Cancelled when the run is, ShuttingDown when this worker has to go."""
        # One a run: what one job learns, those that wait behind it know before it is their turn.
        cancelled = self._cancelled.setdefault(envelope.run_id, asyncio.Event())
        telling: set[asyncio.Task[None]] = set()

        async def look() -> None:
            if await self._events.is_cancelled(envelope.run_id):
                cancelled.set()

        def on_progress(fraction: float, note: str) -> None:
            progress = Progress(envelope.job_key, self._method.name, fraction, note)
            task = asyncio.ensure_future(self._events.tell_progress(envelope.run_id, progress))
            telling.add(task)
            task.add_done_callback(telling.discard)

        job = asyncio.create_task(self._execution.perform(self._method, request, attempt.number, on_progress))
        watchers = [asyncio.create_task(event.wait()) for event in (cancelled, self._stop.now)]
        try:
            async with heartbeat(delivery, self._settings.heartbeat, look):
                await asyncio.wait([job, *watchers], return_when=asyncio.FIRST_COMPLETED)
                if not job.done():
                    job.cancel()  # the pool kills the job's child
                    await asyncio.wait([job])
        finally:
            for task in (job, *watchers):
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
        known = errors.as_error(error)
        await self._attempts.end(envelope.job_key, delivery.sequence, attempt, known.reason, str(known))
        await self._give_back(delivery, envelope, delay)

    async def _give_back(self, delivery: Delivery, envelope: JobEnvelope, delay: float) -> None:
        """Have the job delivered again, even where the server would not: it also counts what we do not hold against it.

        A worker that leaves gives its job back unharmed; after enough of them the server would give the job up.
        """
        if delivery.delivered <= self._settings.max_attempts:
            await delivery.nak(delay)
            return
        await self._events.dispatch(envelope, nonce=f"again-{delivery.sequence}")
        await delivery.term()

    async def _fail(self, delivery: Delivery, envelope: JobEnvelope, error: Exception, attempts: int) -> None:
        """Store the failure, tell the run, and only then delete the message."""
        known = errors.as_error(error)
        failure = JobFailure(
            job_key=envelope.job_key,
            method=self._method.name,
            reason=known.reason,
            message=str(known),
            attempts=attempts,
            envelope=envelope,
            exit_code=known.exit_code,
        )
        await self._letters.add(self._method.verb, failure, delivery.sequence)
        if envelope.run_id:
            await self._events.job_failed(envelope.run_id, without_envelope(failure), delivery.sequence)
        await delivery.term()


def next_delay(error: BaseException, attempt: Attempt, max_attempts: int) -> float | None:
    """Seconds until the next attempt by the table of ``runtime.errors``, or None when the job has failed for good.

    A failure that is worth only one more attempt counts its own kind: an outage before a crash does not use that up.
    """
    if attempt.number >= max_attempts:
        return None
    own = 1 + attempt.earlier.count(errors.as_error(error).reason)
    number = attempt.number if errors.outcome(error).attempts == errors.ANY else own
    return errors.retry_delay(error, number, max_attempts)


def _envelope(data: bytes) -> JobEnvelope:
    """Read what can be read, or keep the bytes for whoever looks into the DLQ."""
    try:
        return JobEnvelope.FromString(data)
    except DecodeError:
        return JobEnvelope(request=data)


def _trace(error: Exception) -> Exception | None:
    """Log a trace of bugs only: our own errors are complete without."""
    return None if isinstance(error, TesseraError) else error
