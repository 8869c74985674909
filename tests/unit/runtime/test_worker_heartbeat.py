"""The heartbeat beats on time, survives outages and never holds the job up."""

from __future__ import annotations

import asyncio
import time

from tessera.errors import Unavailable
from tessera.runtime.heartbeat import heartbeat


class FakeDelivery:
    def __init__(self, error: Exception | None = None, *, swallow: bool = False) -> None:
        self.beats = 0
        self._error = error
        self._swallow = swallow

    async def in_progress(self) -> None:
        self.beats += 1
        if self._error is not None:
            raise self._error
        if self._swallow:
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:  # as the client library does when it is cancelled while it writes
                return


async def test_it_beats_until_the_job_ends() -> None:
    delivery = FakeDelivery()
    began = time.monotonic()
    async with heartbeat(delivery, 0.05):  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            while delivery.beats < 3:
                await asyncio.sleep(0.01)
    assert delivery.beats <= (time.monotonic() - began) / 0.05
    beats = delivery.beats
    await asyncio.sleep(0.15)
    assert delivery.beats == beats


async def test_a_beat_that_cannot_be_sent_does_not_end_it() -> None:
    delivery = FakeDelivery(Unavailable("away"))
    async with heartbeat(delivery, 0.02):  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            while delivery.beats < 3:
                await asyncio.sleep(0.01)


async def test_a_swallowed_cancellation_does_not_hold_the_job_up() -> None:
    delivery = FakeDelivery(swallow=True)
    async with heartbeat(delivery, 0.02):  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            while not delivery.beats:
                await asyncio.sleep(0.01)
        started = time.monotonic()
    assert time.monotonic() - started < 0.4, "it waited for the beat under way"
    await asyncio.sleep(0.1)
    beats = delivery.beats
    await asyncio.sleep(0.2)
    assert delivery.beats == beats
