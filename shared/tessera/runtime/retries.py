"""Whether a failed attempt is worth another: the one table."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from tessera.errors import ChildCrashed, OutOfMemory, TesseraError

ONCE: Final = (OutOfMemory, ChildCrashed)
"""Worth one more attempt: another child, an emptier machine. Twice the same is the job's fault."""
_LONGEST: Final = 120.0


def retry_delay(
    error: BaseException, attempt: int, earlier: Sequence[str], max_attempts: int, rng: random.Random | None = None
) -> float | None:
    """Seconds until the next attempt, min(2ⁿ, 120) ± 20 %, or None when the job has failed for good.

    ``attempt`` counts from 1; ``earlier`` are the reasons of the attempts before.

    ==========================================  =======================================
    bad input, corrupt object, timed out        never again
    anything that is no TesseraError            never again (a bug; its log has the trace)
    out of memory, crashed                      once more
    unavailable, conflict                       until ``max_attempts``
    ==========================================  =======================================
    """
    if not isinstance(error, TesseraError) or not error.transient or attempt >= max_attempts:
        return None
    if isinstance(error, ONCE) and error.reason in earlier:
        return None
    spread = (rng or random.SystemRandom()).uniform(0.8, 1.2)
    return min(2.0**attempt, _LONGEST) * spread
