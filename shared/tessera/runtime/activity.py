"""How long a process has had nothing to do, so that one that was started for a job can leave (a KEDA ScaledJob)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0


class Activity:
    """Counts what is in hand: jobs from their delivery to their acknowledgement, and calls."""

    def __init__(self) -> None:
        self._in_hand = 0
        self._since = time.monotonic()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count as busy while the body runs."""
        self._in_hand += 1
        try:
            yield
        finally:
            self._in_hand -= 1
            self._since = time.monotonic()

    def idle_seconds(self) -> float:
        """Return the seconds since something was in hand, or since this was made; 0 while something is."""
        return 0.0 if self._in_hand else time.monotonic() - self._since


async def leave_when_idle(activity: Activity, draining: asyncio.Event, seconds: float) -> None:
    """Set ``draining`` once there was nothing to do for ``seconds``, counted from this call.

    A job that arrives in the same moment still has the grace time of a drain, and is given back, uncounted, if that is
    too short.
    """
    with activity.busy():
        pass  # what the start took was no idleness
    while not draining.is_set():
        await asyncio.sleep(min(_LOOK_SECONDS, seconds / 4))
        if activity.idle_seconds() >= seconds:
            _log.info("leaving: there was nothing to do", extra={"seconds": seconds})
            draining.set()
