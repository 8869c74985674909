"""Caches that a process keeps from one job to the next, in one object: `between_jobs`.

A module makes its cache through this object and nowhere else (tests/unit/test_house.py looks for others). A compute
child owns it: after a job that ran out of memory it clears them, so that the next job has all memory.
"""

from __future__ import annotations

from typing import Protocol, TypeVar


class Cache(Protocol):
    """Something that can forget what it holds without changing any result."""

    def clear(self) -> None:
        """Forget everything."""
        ...


C = TypeVar("C", bound=Cache)


class BetweenJobs:
    """Caches by name."""

    def __init__(self) -> None:
        self._caches: dict[str, Cache] = {}

    def keep(self, name: str, cache: C) -> C:
        """Keep ``cache`` under a name of its own and return it; ValueError for a name that is taken."""
        if name in self._caches:
            raise ValueError(f"a cache of {name} is kept already")
        self._caches[name] = cache
        return cache

    def names(self) -> list[str]:
        """Return the names of the caches of this process, sorted."""
        return sorted(self._caches)

    def clear(self) -> None:
        """Have every cache forget everything."""
        for cache in self._caches.values():
            cache.clear()


between_jobs = BetweenJobs()
