"""Run independent pieces of work on as many threads as the job has; results never depend on that number."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tessera.compile import threads

T = TypeVar("T")


def each(function: Callable[[int], T], count: int) -> list[T]:
    """Return ``[function(0), …, function(count − 1)]``; only functions that release the GIL run at the same time."""
    number = min(threads(), count)
    if number <= 1:
        return [function(i) for i in range(count)]
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(function, range(count)))
