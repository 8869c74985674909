"""Create and check streams, consumers, buckets and subjects of NATS, in one place.

Workers only bind to what is here; a configuration edited by hand is reported at start instead of silently obeyed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Final

from tessera.errors import BadInput, Unavailable
from tessera.runtime.messaging import Drift, Messaging
from tessera.runtime.settings import Settings
from tessera.runtime.streams import BucketSpec, ConsumerSpec, StreamSpec

DAY: Final = 86_400.0
JOBS, EVENTS, DLQ, ADVISORIES = "JOBS", "EVENTS", "DLQ", "ADVISORIES"
RESULTS, ATTEMPTS, CANCELLED, QUESTIONS = "results", "attempts", "cancelled", "questions"
LINK: Final = "link"
"""First part of the keys in the bucket of questions that are the dashboard's: links of annotators."""
MISSING: Final = "is missing"
"""Last words of a message of `faults` about something that does not exist."""
POISON: Final = "poison"
"""Durable consumer of the advisories about messages that the server no longer delivers."""
_ADVISORY: Final = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.*"
_MAX_ACK_PENDING: Final = 1000
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_-]")
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def token(text: str) -> str:
    """Spell any text as one subject token and KV key: letters, digits, ``_`` and ``-`` stay, other bytes become =XX."""
    if not text:
        raise BadInput("an empty name cannot be a message subject; give the run an id")
    return _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], text.encode()).decode()


def untoken(spelled: str) -> str:
    """Undo ``token``."""
    raw = re.sub(rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), spelled.encode())
    return raw.decode(errors="replace")


def is_run_id(text: str) -> bool:
    """Return whether this can name a run: 1 to 128 letters, digits, _ and -; every entry point asks it."""
    return _RUN_ID.fullmatch(text) is not None


def run_token(run_id: str) -> str:
    """Return the run's id as a token of subjects and keys; BadInput when it cannot name a run."""
    if not is_run_id(run_id):
        raise BadInput(f"run_id {run_id[:80]!r}: use 1 to 128 letters, digits, _ and -")
    return run_id


def job_subject(verb: str) -> str:
    """Return the subject of a method's jobs."""
    return f"tessera.job.{token(verb)}"


def dlq_subject(verb: str) -> str:
    """Return the subject of a method's failed jobs."""
    return f"tessera.dlq.{token(verb)}"


def log_subject(run_id: str) -> str:
    """Return the subject of a run's log, which coordinators write one at a time."""
    return f"tessera.event.{run_token(run_id)}.log"


def result_subject(run_id: str) -> str:
    """Return the subject of the ends of a run's jobs, which workers write."""
    return f"tessera.event.{run_token(run_id)}.job"


def notice_subject(run_id: str) -> str:
    """Return the subject on which listeners hear of rounds and ends of a run; it is not stored."""
    return f"tessera.notice.{run_token(run_id)}"


def progress_subject(run_id: str) -> str:
    """Return the subject of progress of a run's jobs, which is not stored."""
    return f"tessera.progress.{run_token(run_id)}"


def consumer_name(verb: str) -> str:
    """Return the name of the durable consumer of a method's jobs, shared by all its workers."""
    return f"worker-{token(verb)}"


def streams(settings: Settings) -> tuple[StreamSpec, ...]:
    """Return every stream."""
    copies = settings.nats_replicas
    return (
        StreamSpec(
            JOBS,
            ("tessera.job.>",),
            "workqueue",
            max_age=7 * DAY,
            discard="new",
            max_msgs=settings.jobs_limit,
            max_msg_size=settings.message_bytes,
            max_bytes=settings.jobs_bytes or -1,
            duplicate_window=settings.duplicate_window,
            replicas=copies,
        ),
        # A submitted run carries its recipe, and a result its response: they have the limit of a job.
        StreamSpec(
            EVENTS,
            ("tessera.event.>",),
            "limits",
            # No age: a run may take longer than any. Runs that have ended are archived and leave the stream one by one.
            max_age=0.0,
            former_max_age=90 * DAY,
            # What is full refuses: the oldest events are those of runs that go on longest.
            discard="new" if settings.events_bytes else "old",
            max_msg_size=4 * settings.message_bytes,
            max_bytes=settings.events_bytes or -1,
            duplicate_window=settings.duplicate_window,
            replicas=copies,
        ),
        StreamSpec(
            DLQ,
            ("tessera.dlq.>",),
            "limits",
            max_age=30 * DAY,
            max_msg_size=4 * settings.message_bytes,
            max_bytes=settings.dlq_bytes or -1,
            duplicate_window=settings.duplicate_window,
            replicas=copies,
        ),
        StreamSpec(ADVISORIES, (_ADVISORY,), "limits", max_age=7 * DAY, replicas=copies),
    )


def buckets(settings: Settings) -> tuple[BucketSpec, ...]:
    """Return every key-value bucket: results of jobs, attempts of jobs, cancelled runs, questions to people."""
    copies = settings.nats_replicas
    return (
        BucketSpec(RESULTS, 0.0, copies),
        BucketSpec(ATTEMPTS, 7 * DAY, copies),
        BucketSpec(CANCELLED, 90 * DAY, copies),
        # No age: people may take longer than any.
        BucketSpec(QUESTIONS, 0.0, copies),
    )


def worker_consumer(verb: str, settings: Settings) -> ConsumerSpec:
    """Return the consumer of a method's jobs. Our own cap on attempts is reached before the server's."""
    return ConsumerSpec(
        JOBS,
        consumer_name(verb),
        job_subject(verb),
        settings.ack_wait,
        settings.max_attempts + 1,
        _MAX_ACK_PENDING,
    )


def poison_consumer(settings: Settings) -> ConsumerSpec:
    """Return the consumer of the advisories."""
    return ConsumerSpec(ADVISORIES, POISON, _ADVISORY, settings.ack_wait, -1, _MAX_ACK_PENDING)


async def ensure(messaging: Messaging, settings: Settings, verbs: Iterable[str], *, create: bool = True) -> None:
    """Create missing streams, consumers and buckets; BadInput names every changed field with both values.

    Without ``create`` (for a user that may not) Unavailable names what is missing.
    """
    wrong = await faults(messaging, settings, verbs, create=create)
    missing = [fault for fault in wrong if fault.endswith(MISSING)]
    if missing:
        raise Unavailable(
            f"NATS at {messaging.url}: {'; '.join(missing)}. Make it with tessera topology, as a user that may"
        )
    if wrong:
        raise BadInput(
            f"NATS at {messaging.url} differs from the topology: {'; '.join(wrong)}. Set it back (nats stream edit, "
            "nats consumer rm), or give this process the settings that it was made with"
        )


async def faults(messaging: Messaging, settings: Settings, verbs: Iterable[str], *, create: bool = False) -> list[str]:
    """Return one sentence for each missing or different object; create missing ones if ``create``."""
    wrong: list[str] = []

    def note(what: str, drift: Drift | None) -> None:
        if drift is None:
            wrong.append(f"{what} {MISSING}")
            return
        wrong.extend(
            f"{what}: {field} is {_plain(found)}, expected {_plain(want)}" for field, (want, found) in drift.items()
        )

    for stream in streams(settings):
        note(f"stream {stream.name}", await messaging.ensure_stream(stream, create=create))
    for bucket in buckets(settings):
        note(f"bucket {bucket.name}", await messaging.ensure_bucket(bucket, create=create))
    for consumer in (poison_consumer(settings), *(worker_consumer(verb, settings) for verb in verbs)):
        drift = await messaging.ensure_consumer(consumer, create=create)
        note(f"consumer {consumer.name} of {consumer.stream}", drift)
    return wrong


async def refusals(messaging: Messaging, settings: Settings) -> list[str]:
    """Return one sentence for each stream and bucket that stores nothing; missing ones are left to ``faults``.

    A stream that has met a full disk answers questions and stores nothing, and only publishing shows it. What is
    published here is read by nobody and deleted.
    """
    probes = {JOBS: "tessera.job.doctor.probe", EVENTS: "tessera.event.doctor", DLQ: "tessera.dlq.doctor.probe"}
    probes |= {f"KV_{bucket.name}": f"$KV.{bucket.name}.doctor.probe" for bucket in buckets(settings)}

    async def probe(stream: str, subject: str) -> str:
        try:
            why = await messaging.refusal(stream, subject)
        except Unavailable:
            return ""
        return f"{stream} stores nothing ({why})" if why else ""

    found = await asyncio.gather(*(probe(*one) for one in probes.items()))
    return [one for one in found if one]


def _plain(value: object) -> str:
    return repr(getattr(value, "value", value))
