"""A process that was started for jobs leaves when there are none, and never while it has one in hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tessera.runtime.activity import Activity, leave_when_idle
from toy.harness import bed, request


async def test_a_worker_without_jobs_leaves_with_success_after_the_job_that_it_had(
    tmp_path: Path, nats_url: str
) -> None:
    async with bed(tmp_path, nats_url, idle_seconds=2.0) as made:
        # Twice as long as the time after which it would leave.
        keys = await made.submit(request(1, "sleep:4"))
        service = await made.start()
        assert await asyncio.to_thread(service.wait, 60) == 0
        assert await made.record(keys[0]) is not None
        assert "leaving: there was nothing to do" in service.log


async def test_nothing_leaves_while_something_is_in_hand() -> None:
    activity, draining = Activity(), asyncio.Event()
    leaving = asyncio.create_task(leave_when_idle(activity, draining, 0.05))
    with activity.busy():
        await asyncio.sleep(0.3)
        with activity.busy():
            pass
        assert activity.idle_seconds() == 0
        assert not draining.is_set()
    await asyncio.wait_for(leaving, 30)
    assert draining.is_set()
