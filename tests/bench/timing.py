"""How the benches of one process take their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(function: Callable[[], object], repeats: int = 7) -> float:
    """Median CPU seconds of a call, after one that is not counted."""
    function()
    taken = []
    for _ in range(repeats):
        begun = time.process_time()
        function()
        taken.append(time.process_time() - begun)
    return statistics.median(taken)
