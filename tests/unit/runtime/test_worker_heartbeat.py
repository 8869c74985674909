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
    async with heartbeat(delivery, 0.05):  # type: ignore[arg-type]
        await asyncio.sleep(0.28)
    assert 3 <= delivery.beats <= 6
    beats = delivery.beats
    await asyncio.sleep(0.15)
    assert delivery.beats == beats


async def test_a_beat_that_cannot_be_sent_does_not_end_it() -> None:
    delivery = FakeDelivery(Unavailable("away"))
    async with heartbeat(delivery, 0.02):  # type: ignore[arg-type]
        await asyncio.sleep(0.15)
    assert delivery.beats >= 3


async def test_a_swallowed_cancellation_does_not_hold_the_job_up() -> None:
    delivery = FakeDelivery(swallow=True)
    started = time.monotonic()
    async with heartbeat(delivery, 0.02):  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
    assert time.monotonic() - started < 0.4
    await asyncio.sleep(0.1)
    beats = delivery.beats
    await asyncio.sleep(0.2)
    assert delivery.beats == beats
