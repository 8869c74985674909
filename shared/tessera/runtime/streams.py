"""Plain values of the messaging seam: what streams, consumers and buckets are, and what comes out of them."""

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
    duplicate_window: float = 120.0
    replicas: int = 1
    former_max_age: float | None = None
    """An age that earlier versions gave it: a stream that still has it is brought up to date, not refused."""


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
    """A durable consumer now: requests for a message that wait, messages nobody has, messages taken and not settled."""

    requests: int
    waiting: int
    taken: int


@dataclass(frozen=True)
class Room:
    """What is stored, and how much may be: ``limit`` in bytes or messages, None where there is none of its own."""

    used: int
    limit: int | None


@dataclass(frozen=True)
class Published:
    """The server's word that a message is stored; ``duplicate``: it already was, under this message id."""

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
