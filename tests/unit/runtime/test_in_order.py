"""Calls that run a few at a time and whose results come in order."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tessera.runtime.importing import AT_ONCE, in_order


class Calls:
    """Calls that wait until they are let go; counts those that run."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.most = 0
        self.cancelled: set[int] = set()
        self.gates: dict[int, asyncio.Event] = {}

    async def __call__(self, item: int) -> int:
        self.running.add(item)
        self.most = max(self.most, len(self.running))
        try:
            if item in self.gates:
                await self.gates[item].wait()
            await asyncio.sleep(0)
            return 10 * item
        except asyncio.CancelledError:
            self.cancelled.add(item)
            raise
        finally:
            self.running.discard(item)


async def test_results_come_in_order_and_a_bounded_number_runs():
    calls = Calls()
    found = [one async for one in in_order(range(100), calls)]
    assert found == [(item + 1, 10 * item) for item in range(100)]
    assert calls.most == AT_ONCE
    assert [one async for one in in_order([], calls)] == []
    assert [one async for one in in_order([7], calls)] == [(1, 70)]


async def test_a_slow_call_keeps_no_free_place_empty():
    calls = Calls()
    calls.gates[5] = asyncio.Event()
    results = in_order(range(100), calls)
    assert [(await anext(results))[1] for _ in range(5)] == [0, 10, 20, 30, 40]
    for _ in range(50):
        await asyncio.sleep(0)
    # All that may start beside the slow one have been done.
    assert calls.running == {5}
    calls.gates[5].set()
    assert [one async for _, one in results] == [10 * item for item in range(5, 100)]


async def test_a_call_that_fails_ends_the_others():
    calls = Calls()
    calls.gates = {item: asyncio.Event() for item in range(1, 40)}

    async def fails(item: int) -> int:
        if item == 0:
            await asyncio.sleep(0)
            raise ValueError("no")
        return await calls(item)

    with pytest.raises(ValueError, match="no"):
        _ = [one async for one in in_order(range(40), fails)]
    assert calls.running == set()
    assert calls.cancelled == set(range(1, AT_ONCE))


async def test_who_stops_early_leaves_nothing_running():
    calls = Calls()
    calls.gates = {item: asyncio.Event() for item in range(1, 40)}
    async with contextlib.aclosing(in_order(range(40), calls)) as results:
        assert await anext(results) == (1, 0)
    assert calls.running == set()
