"""Response types by method name, and the stored objects that a message names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

# The look-up below finds the messages that these modules register.
from tessera.pb import (  # noqa: F401
    embedder_pb2,
    evaluator_pb2,
    oracle_pb2,
    partitioner_pb2,
    questions_pb2,
    runs_pb2,
    scorer_pb2,
    selector_pb2,
    trainer_pb2,
)
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobRecord

DIGEST_BYTES = 8
"""Leading bytes of a SHA-256 by which ``JobRecord.wrote`` names an object."""


def response_of(method: str, response: bytes) -> Message | None:
    """Decode a response; None when there is no such method or the bytes are not its response."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(f"tessera.v1.{method}Response")
        return message_factory.GetMessageClass(descriptor).FromString(response)
    except (KeyError, DecodeError):
        return None


def digest(record: JobRecord) -> str:
    """Return the digest that distinguishes two results of one job: 32 hexadecimal digits.

    Taken from the fields that distinguish executions, not from all bytes, so that every version computes the same.
    """
    facts = f"{record.job_key} {record.algorithm} {record.worker} {record.attempt} {record.job_seconds!r} "
    return hashlib.sha256(facts.encode() + record.response).hexdigest()[:32]


def references(message: Message) -> Iterator[ObjectRef]:
    """Yield every object reference in a message, however deep, in field order."""
    if isinstance(message, ObjectRef):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if not field.is_repeated:
            yield from references(value)
            continue
        # A map is a repeated field of entries.
        for part in value.values() if hasattr(value, "values") else value:
            if isinstance(part, Message):
                yield from references(part)


def made(method: str, response: bytes, wrote: bytes, sha256: str) -> bool:
    """Return whether a job wrote the object with this hash, as far as its record says (``JobRecord.wrote``)."""
    start = bytes.fromhex(sha256)[:DIGEST_BYTES]
    step = DIGEST_BYTES
    if any(wrote[at : at + step] == start for at in range(0, len(wrote), step)):
        return True
    decoded = response_of(method, response)
    return decoded is not None and any(ref.sha256 == sha256 for ref in references(decoded))
