"""Run independent pieces of work on as many threads as the job has; results never depend on that number."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba

T = TypeVar("T")


def each(function: Callable[[int], T], count: int) -> list[T]:
    """Return ``[function(0), …, function(count − 1)]``; only functions that release the GIL run at the same time."""
    threads = min(numba.get_num_threads(), count)
    if threads <= 1:
        return [function(i) for i in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, range(count)))
