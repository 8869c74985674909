"""Heartbeats that keep a delivery ours while its job runs, however long that takes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tessera.errors import Unavailable
from tessera.runtime.messaging import Delivery
from tessera.runtime.seldom import Seldom

_seldom: Final = Seldom(logging.getLogger(__name__))
_beating: Final[set[asyncio.Task[None]]] = set()


@dataclass
class Beats:
    """Holds the function that is called at each beat; it may be replaced meanwhile."""

    on_beat: Callable[[], Awaitable[None]] | None = None


@contextlib.asynccontextmanager
async def heartbeat(delivery: Delivery, seconds: float) -> AsyncIterator[Beats]:
    """Send in-progress every ``seconds``, and call ``on_beat`` of the yielded ``Beats`` each time.

    A beat that cannot be sent is logged and the job goes on: if another worker gets the job meanwhile, the commit
    decides.
    """
    stopped = False
    beats = Beats()

    async def beat() -> None:
        while not stopped:
            await asyncio.sleep(seconds)
            try:
                await delivery.in_progress()
                if beats.on_beat is not None:
                    await beats.on_beat()
            except Unavailable as error:
                _seldom.warning("heartbeat was not sent", error=str(error))

    task = asyncio.create_task(beat())
    _beating.add(task)
    task.add_done_callback(_beating.discard)
    try:
        yield beats
    finally:
        # Not awaited: the client library swallows a cancellation that meets it while it writes, and the job must not
        # wait for a beat. The flag ends it then.
        stopped = True
        task.cancel()
