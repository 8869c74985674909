"""One job that does nothing, from dispatch to its event."""

from __future__ import annotations

import time

from toy.harness import RUN, Bed, envelope, request


async def round_trip(made: Bed, seed: int, last: int) -> tuple[float, int]:
    """Send one job and wait for its event, which follows sequence ``last``; returns the seconds and its sequence."""
    sealed = envelope(request(seed))
    begun = time.perf_counter()
    await made.events.dispatch(sealed)
    async for logged in made.events.follow(RUN, last + 1):
        if logged.event.job_done.record.job_key == sealed.job_key:
            last = logged.sequence
            break
    return time.perf_counter() - begun, last
