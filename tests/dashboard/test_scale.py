"""200 runs and a round of 100,000 questions: every page stays small and quick."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dashboard.world import World, serving
from tessera.pb import runs_pb2 as pb
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load

PAGES = [
    "/", "/?page=3", "/runs/large", "/runs/large?over=seconds", "/runs/large/rounds/1", "/runs/large/rounds/1?page=500",
    "/runs/large/rounds/1/pictures/3", "/runs/large/rounds/1/images/77", "/compare?run=run-000&run=run-001", "/workers",
]  # fmt: skip


@pytest.mark.full
async def test_no_page_takes_over_a_second(tmp_path: Path) -> None:
    world = World(open_store(tmp_path.as_uri(), load(fsync=False)))
    await world.make_pool(10_000)
    for number in range(199):
        status = pb.RUN_STATUS_RUNNING if number % 3 else pb.RUN_STATUS_DONE
        await world.add_run(f"run-{number:03d}", status, rounds=10, seed=number)
    await world.add_run("large", rounds=2, per_round=50_000)
    slow = {}
    async with serving(world), world.client() as client:
        await world.signed_in(client)
        for path in PAGES:
            times, size = [], 0
            for _ in range(4):
                begin = time.perf_counter()
                page = await client.get(path)
                times.append(time.perf_counter() - begin)
                size = len(page.content)
                assert page.status_code == 200, page.text[-500:]
            print(f"{path}: first {times[0]:.2f} s, then {min(times[1:]):.3f} s, {size:,} bytes")
            assert size < 400_000
            # The best of some tries: the machine may be busy with something else.
            if min(times) > 1.0:
                slow[path] = times
    assert not slow
