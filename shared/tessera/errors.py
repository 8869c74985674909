"""Named failures. Every message names the field or file, the offending value and the remedy.

Domain code raises these directly; ``runtime.errors`` maps them to gRPC codes, retry decisions and exit codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar


class TesseraError(Exception):
    """Base of every failure a user may see; the text is complete without a traceback."""

    reason: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 3
    transient: ClassVar[bool] = False


class BadInput(TesseraError):
    """The user's recipe, data, weights or request is wrong; trying again cannot help."""

    reason = "bad_input"
    exit_code = 2


class Unauthenticated(TesseraError):
    """The caller did not show who it is, or what it showed is not known."""

    reason = "unauthenticated"
    exit_code = 2


class Forbidden(TesseraError):
    """The caller is known and lacks a role for this call; the message names it."""

    reason = "forbidden"
    exit_code = 2


class CorruptObject(TesseraError):
    """Stored bytes are not there, or do not match their reference (size or sha256).

    ``ref`` is the reference (``tessera.v1.ObjectRef``) where one is known: the job that made the object is done again.
    """

    reason = "corrupt_object"

    def __init__(self, message: str, ref: Any = None) -> None:
        super().__init__(message)
        self.ref = ref


class Unavailable(TesseraError):
    """NATS or the object store does not answer, or has no room; trying again later may help."""

    reason = "unavailable"
    transient = True


class Conflict(TesseraError):
    """Another process wrote first (optimistic concurrency); read again and decide again."""

    reason = "conflict"
    transient = True


class OutOfMemory(TesseraError):
    """The compute child ran out of memory or was killed for it."""

    reason = "out_of_memory"
    transient = True


class ChildCrashed(TesseraError):
    """The compute child ended by a signal or without an answer."""

    reason = "crashed"
    transient = True


class ChildTimedOut(TesseraError):
    """The compute child was stopped because it ran past the method's time limit."""

    reason = "timed_out"


class Cancelled(TesseraError):
    """The run was cancelled while the job was waiting or running."""

    reason = "cancelled"
    exit_code = 130


class JobFailedError(TesseraError):
    """A job of a run ended without a result; carries the worker's message."""

    reason = "job_failed"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown name: the nearest known ones, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
