"""One table of failures: gRPC status, retries, exit code and message to the user, for every door."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from tessera.errors import (
    BadInput,
    Cancelled,
    ChildCrashed,
    ChildTimedOut,
    Conflict,
    CorruptObject,
    Forbidden,
    JobFailedError,
    OutOfMemory,
    TesseraError,
    Unauthenticated,
    Unavailable,
)

EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True)
class Outcome:
    """How one kind of failure is treated."""

    status: str
    """Name of the gRPC status code."""
    attempts: int
    """Most attempts at a job while it fails in this way; ``ANY``: as many as the settings allow; ``UNCOUNTED``: no
    limit."""


ANY: Final = 0
UNCOUNTED: Final = -1
"""Not counted as an attempt: the server is away or full, and the job waits for as long as that lasts."""
# An unknown exception gets one more try: it may have been the machine. A crash or a lack of memory would most likely
# happen again, so it gets one more try, too, not five.
OUTCOMES: Final[dict[type[TesseraError], Outcome]] = {
    BadInput: Outcome("INVALID_ARGUMENT", 1),
    Unauthenticated: Outcome("UNAUTHENTICATED", 1),
    Forbidden: Outcome("PERMISSION_DENIED", 1),
    CorruptObject: Outcome("DATA_LOSS", 1),
    Unavailable: Outcome("UNAVAILABLE", UNCOUNTED),
    Conflict: Outcome("ABORTED", ANY),
    OutOfMemory: Outcome("RESOURCE_EXHAUSTED", 2),
    ChildCrashed: Outcome("INTERNAL", 2),
    ChildTimedOut: Outcome("DEADLINE_EXCEEDED", 1),
    Cancelled: Outcome("CANCELLED", 1),
    JobFailedError: Outcome("FAILED_PRECONDITION", 1),
    TesseraError: Outcome("INTERNAL", 2),
}
REASONS: Final = tuple(kind.reason for kind in OUTCOMES)
"""What a failure may be called, in dead letters and metrics."""

_FIRST_DELAY, _LONGEST_DELAY, _JITTER = 2.0, 120.0, 0.2
# Shorter: a run goes on soon after the server that it waits for is back.
_LONGEST_OUTAGE_DELAY: Final = 30.0
_HIDDEN: Final = "internal error; the log of the service that ran it has the details"


def as_error(error: BaseException) -> TesseraError:
    """Return the failure for the user; an exception of another library loses its text, which may hold anything."""
    if isinstance(error, TesseraError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("the service ran out of memory")
    if isinstance(error, TimeoutError | ConnectionError):
        return Unavailable(f"no answer in time ({type(error).__name__})")
    return TesseraError(f"{_HIDDEN} ({type(error).__name__})")


def outcome(error: BaseException) -> Outcome:
    """Return the row of the table for this failure (that of its nearest base)."""
    for kind in type(as_error(error)).__mro__:
        if kind in OUTCOMES:
            return OUTCOMES[kind]
    raise AssertionError("TesseraError is in the table")


def status_name(error: BaseException) -> str:
    """Return the gRPC status code's name: "INVALID_ARGUMENT"."""
    return outcome(error).status


def retry_delay(error: BaseException, attempt: int, max_attempts: int) -> float | None:
    """Return the seconds until the next attempt, or None when this failure is final.

    ``attempt`` counts from 1 and is the one that just failed. Delays are 2, 4, 8, … ≤ 120 s, ±20 %.
    """
    allowed = outcome(error).attempts
    if allowed == UNCOUNTED:
        return outage_delay(attempt)
    allowed = max_attempts if allowed == ANY else min(allowed, max_attempts)
    if attempt >= allowed:
        return None
    return _delay(attempt, _LONGEST_DELAY)


def outage_delay(times: int) -> float:
    """Return the seconds after which to ask a server again that was away ``times`` times: 2, 4, 8, … ≤ 30 s, ±20 %."""
    return _delay(times, _LONGEST_OUTAGE_DELAY)


def _delay(times: int, longest: float) -> float:
    delay = min(_FIRST_DELAY * 2.0 ** min(max(times, 1) - 1, 30), longest)
    return delay * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # jitter, not a secret


def exit_code(error: BaseException) -> int:
    """Return the process exit code: 2 bad input, 3 a job or a service failed, 130 interrupted."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return as_error(error).exit_code
