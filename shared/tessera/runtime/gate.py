"""Decide which job computes next: in order of arrival, but first a job whose data a child holds."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from tessera.errors import Unavailable

_PASSES: Final = 3


class ShuttingDown(Unavailable):
    """The process leaves before the job has begun to compute, or has ended; another one may do it."""


class Warmth(enum.IntEnum):
    """Whether a child holds the job's data; jobs with the least value come first."""

    IDLE = 0
    """An idle child holds it."""
    NONE = 1
    """No child holds it: whoever runs the job computes it."""
    BUSY = 2
    """A busy child holds it: another one would compute it a second time, and hold it as well."""


@dataclass(eq=False)
class _Waiter:
    cores: int
    affinity: str
    turn: asyncio.Future[bool]
    passed: int = 0


@dataclass
class Gate:
    """Lends cores and places: first come first served among jobs that are equally warm.

    A job may pass others that want as many cores, the same one at most three times. It never passes jobs of other
    widths, so a job that wants every core waits for them and is not overtaken for ever. ``warmth`` says how warm an
    affinity is now.
    """

    cores: int
    places: int
    warmth: Callable[[str], Warmth] = lambda _: Warmth.NONE
    _waiting: list[_Waiter] = field(default_factory=list)
    _closed: bool = False

    @property
    def waiting(self) -> int:
        """Number of jobs whose turn has not come."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def hold(self, cores: int, affinity: str = "") -> AsyncIterator[None]:
        """Hold this many cores and one place; ShuttingDown when the gate is closed before it is this job's turn."""
        await self._acquire(cores, affinity)
        try:
            yield
        finally:
            self._release(cores)

    def close(self) -> None:
        """Admit from now on only jobs that can start at once; jobs that wait get ShuttingDown."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.turn.done():
                waiter.turn.set_result(False)

    async def _acquire(self, cores: int, affinity: str) -> None:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiter(cores, affinity, turn))
        self._wake()
        if self._closed:
            self.close()
        try:
            granted = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self._release(cores)
            else:
                self._wake()
            raise
        if not granted:
            raise ShuttingDown("compute: this process is shutting down")

    def _release(self, cores: int) -> None:
        self.cores += cores
        self.places += 1
        self._wake()

    def _wake(self) -> None:
        """Admit the next job, and look again after its first pause, when warmth has changed."""
        self._waiting = [waiter for waiter in self._waiting if not waiter.turn.done()]
        chosen = self._next()
        if chosen is None:
            return
        for waiter in takewhile(lambda waiter: waiter is not chosen, self._waiting):
            waiter.passed += 1
        self._waiting.remove(chosen)
        self.cores -= chosen.cores
        self.places -= 1
        chosen.turn.set_result(True)
        asyncio.get_running_loop().call_soon(self._wake)

    def _next(self) -> _Waiter | None:
        """Return the warmest job that may come first; none was passed more often than the one that waits longest."""
        if not (self._waiting and self.places and self._waiting[0].cores <= self.cores):
            return None
        first = self._waiting[0]
        if first.passed >= _PASSES:
            return first
        alike = takewhile(lambda waiter: waiter.cores == first.cores, self._waiting)
        return min(alike, key=lambda waiter: self.warmth(waiter.affinity))
