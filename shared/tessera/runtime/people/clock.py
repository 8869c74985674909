"""The time of leases and answers: it is stored, and read by other processes after restarts, so it is the wall clock's.

A clock that jumps ends leases early or late, and delays or hastens the end of a round; no answer is lost by it.
"""

from __future__ import annotations

import time


def now() -> float:
    """Return seconds since 1970."""
    return time.time()
