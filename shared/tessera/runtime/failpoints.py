"""Places where a test may kill this process; nothing happens unless ``TESSERA_FAILPOINT`` names the place."""

from __future__ import annotations

import os
import signal
from typing import Final

POINTS: Final = ("fetched", "computed", "blobs", "content", "record", "result", "event", "acked")
"""In the order of a job; each is reached just after the step that it names."""
ARCHIVE_POINTS: Final = ("archive", "archived", "purged")
"""The same for the log of a run that is moved into the store: stored, named in the log, half deleted."""
PEOPLE_POINTS: Final = ("answer_stored", "answer_counted", "closing", "collected")
"""The same for a round of questions to people: an answer in the store, its question's state; its end, its record."""
TAKE_POINTS: Final = ("version_found", "version_taken")
"""The same for a round that takes up a version of its data set: found in the store, committed."""
_ARMED: Final = os.environ.get("TESSERA_FAILPOINT", "")


def reached(point: str) -> None:
    """Die by SIGKILL if a test asked for it here."""
    if _ARMED and point == _ARMED:
        os.kill(os.getpid(), signal.SIGKILL)
