"""Plain values of the messaging interface: descriptions of streams, consumers and buckets, and their messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class StreamSpec:
    """A stream as it must be; ages and windows in seconds, 0 = unlimited."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"]
    max_age: float
    discard: Literal["old", "new"] = "old"
    max_msgs: int = -1
    max_msg_size: int = -1
    max_bytes: int = -1
    """A stream that has no such quota yet gets it; one that has another is refused."""
    duplicate_window: float = 120.0
    replicas: int = 1
    former_max_age: float | None = None
    """An age that earlier versions gave it: a stream that still has it is updated, not refused."""


@dataclass(frozen=True)
class ConsumerSpec:
    """A durable pull consumer as it must be; ``ack_wait`` in seconds."""

    stream: str
    name: str
    filter_subject: str
    ack_wait: float
    max_deliver: int
    max_ack_pending: int


@dataclass(frozen=True)
class BucketSpec:
    """A key-value bucket as it must be; ``ttl`` in seconds, 0 = for ever."""

    name: str
    ttl: float = 0.0
    replicas: int = 1


@dataclass(frozen=True)
class QueueState:
    """Counts of a durable consumer: waiting requests, undelivered messages, messages delivered and unsettled."""

    requests: int
    waiting: int
    taken: int


@dataclass(frozen=True)
class Room:
    """Use and ``limit`` of a stream or account, in bytes or messages; None where it has no limit of its own."""

    used: int
    limit: int | None


@dataclass(frozen=True)
class Published:
    """The server's confirmation that a message is stored; ``duplicate``: it already was, under this message id."""

    sequence: int
    duplicate: bool


@dataclass(frozen=True)
class BucketEntry:
    """A value of a key-value bucket and its revision."""

    value: bytes
    revision: int


@dataclass(frozen=True)
class StoredMessage:
    """A message read from a stream's log."""

    sequence: int
    subject: str
    data: bytes
    time: datetime
