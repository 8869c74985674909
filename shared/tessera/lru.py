"""Bounded caches: values by key, the least recently used are dropped first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLimitedLRU(Generic[K, V]):
    """At most ``limit`` bytes of values; ``size`` says how many bytes a value holds. Not thread-safe.

    A value over the limit is not kept at all. Only for values that could be made again: whether one is kept changes no
    result.
    """

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[K, V] = OrderedDict()
        self.bytes = 0
        """Bytes held now, at most the limit."""

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return the value of ``key``, now the most recently used; None when it is not held."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: K, value: V) -> None:
        """Hold ``value``; what was used least recently leaves until all of it fits."""
        if key in self._values:
            self.bytes -= self._size(self._values.pop(key))
        if self._size(value) > self._limit:
            return
        self._values[key] = value
        self.bytes += self._size(value)
        while self.bytes > self._limit:
            self.bytes -= self._size(self._values.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self.bytes = 0


class CountLimitedLRU(Generic[K, V]):
    """At most ``limit`` values, of any size. Not thread-safe; only for values that could be made again."""

    def __init__(self, limit: int) -> None:
        self._held: ByteLimitedLRU[K, V] = ByteLimitedLRU(limit, lambda _: 1)

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """Return the value of ``key``, now the most recently used; None when it is not held."""
        return self._held.get(key)

    def put(self, key: K, value: V) -> None:
        """Hold ``value``; what was used least recently leaves where there are too many."""
        self._held.put(key, value)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
