"""Long computations that are killed, fail and are cancelled: they go on from where they were, or end at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tessera.runtime.checkpoints import PREFIX
from tessera.runtime.jobkeys import job_key
from toy.harness import Bed, ToyService, bed, eventually, request

pytestmark = pytest.mark.faults

KEEPING = {"TOY_CHECKPOINTS": "1", "TESSERA_CHECKPOINT_SECONDS": "0"}


def steps(made: Bed) -> Counter[int]:
    """How often each step was done."""
    return Counter(int(path.name.split("-")[1]) for path in (made.folder / "runs").glob("step-*"))


def child(service: ToyService) -> psutil.Process:
    assert service.process is not None
    return psutil.Process(service.process.pid).children()[0]


@pytest.mark.parametrize("whole", [False, True], ids=["child", "worker"])
async def test_a_killed_computation_goes_on_from_its_checkpoint(whole: bool, tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url, ack_wait=2.0, heartbeat=0.5) as made:
        service = await made.start(**KEEPING)
        (key,) = await made.submit(request(1, "count:20"))
        await eventually(lambda: len(steps(made)) > 8)
        if whole:
            service.kill()
            await made.start(**KEEPING)
        else:
            child(service).kill()
        (event,) = await made.ends(1)
        assert event.HasField("job_done"), event
        done = steps(made)
        assert sorted(done) == list(range(20))
        assert done[0] == 1  # it did not begin at the beginning
        assert sum(done.values()) < 28
        assert await made.store.list(PREFIX) == []  # of no use any more
        assert event.job_done.record.job_key == key


async def test_a_checkpoint_of_a_job_that_failed_stays(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        await made.start(**KEEPING)
        await made.submit(request(1, "count:3,bad"))
        (event,) = await made.ends(1)
        assert "bad end" in event.job_failed.failure.message
        key = job_key("Score", "toy/1", request(1, "count:3,bad"))
        assert f"{PREFIX}{key}/index.json" in await made.store.list(PREFIX)


async def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url, ack_wait=2.0, heartbeat=0.5) as made:
        service = await made.start(**KEEPING)
        await made.submit(request(1, "count:15"))
        await eventually(lambda: len(steps(made)) > 5)
        service.kill()
        for key in await made.store.list(PREFIX):
            if not key.endswith(".json"):
                await made.store.put(key, b"14", "")
        again = await made.start(**KEEPING)
        (event,) = await made.ends(1)
        assert event.HasField("job_done"), event
        assert steps(made)[0] == 2  # from the start, not from the forged checkpoint
        assert "a checkpoint cannot be used" in again.log


async def test_a_cancelled_run_ends_its_long_job_at_once(
    tmp_path: Path, nats_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bed(tmp_path, nats_url, ack_wait=60.0, heartbeat=30.0) as made:
        service = await made.start(**KEEPING)
        await made.submit(request(1, "count:150"), run_id="gone")
        await eventually(lambda: len(steps(made)) > 2)
        running = child(service)
        before = time.monotonic()
        await made.events.cancel("gone", "no longer wanted")
        await asyncio.to_thread(running.wait, 60)
        took = time.monotonic() - before
        with capsys.disabled():
            print(f"\na cancelled run's computation ended after {took:.2f} s")
        assert took < 10  # two are the aim, the rest is for a busy machine
        assert len(steps(made)) < 150, "it was not counted to the end"
        await made.idle()
