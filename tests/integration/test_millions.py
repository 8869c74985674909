"""A run of a million images in 62,500 shards: planned, folded, viewed, resumed. Only the compute is not real.

The coordinator is a process of its own; it is killed in the first large step, and the run is cancelled and resumed in
the second. Its costs are printed; docs/results/scale.md reports them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from integration.crowd import Coordinator, Crowd
from servers import NatsProcess
from tessera.pb import runs_pb2 as pb
from tessera.runtime import messaging, rpc, settings, topology
from tessera.runtime.events import EventLog
from tessera.runtime.objects import open_store
from tessera.runtime.runs_client import RunsClient
from unit.loop.simulator import load, spec_of

from integration.crowd import VERBS  # isort: skip

GIB = 1 << 30


@pytest.mark.parametrize(
    "images",
    [
        # More shards than the keys of a step fit an event.
        pytest.param(72_000, id="72000", marks=pytest.mark.full),
        pytest.param(1_000_000, id="1000000", marks=[pytest.mark.full, pytest.mark.timeout(1800)]),
    ],
)
async def test_a_run_is_driven_killed_cancelled_resumed_and_viewed(
    nats_server: NatsProcess, tmp_path: Path, images: int
) -> None:
    store = (tmp_path / "store").as_uri()
    chosen = settings.load(nats_url=nats_server.url, store=store, fsync=False)
    spec = spec_of(load("street_entropy", budget__rounds=1), train=images, val=64, test=64)
    shards = -(-images // spec.shard_images)
    large = [(0, "partition"), (1, "score")]
    connection = await messaging.connect(nats_server.url, name="crowd")
    coordinator = Coordinator(
        tmp_path, {"TESSERA_NATS_URL": nats_server.url, "TESSERA_STORE": store, "TESSERA_FSYNC": "0"}
    )
    try:
        await topology.ensure(connection, chosen, VERBS)
        began = time.monotonic()
        address = await asyncio.to_thread(coordinator.start)
        async with Crowd(connection).working() as crowd:
            async with RunsClient(address) as runs:
                assert (await runs.submit(spec)).run.status == pb.RUN_STATUS_RUNNING
            await reached(crowd, "Partition", shards // 2)
            await asyncio.to_thread(coordinator.kill)
            again = time.monotonic()
            address = await asyncio.to_thread(coordinator.start)
            again = time.monotonic() - again
            async with RunsClient(address) as runs:
                await reached(crowd, "Score", shards // 4)
                assert (await runs.cancel(spec.run_id, "a pause")).status == pb.RUN_STATUS_CANCELLED
                assert (await runs.resume(spec.run_id)).status == pb.RUN_STATUS_RUNNING
                run, told = await ended(runs, address, spec.run_id)
                wall = time.monotonic() - began
                assert (run.status, run.message) == (pb.RUN_STATUS_DONE, "spent")
                assert run.pool_regions == 16 * images
                assert [one.complete for one in run.rounds] == [True, True]
                assert run.ByteSize() < 64 << 10
                assert len((await runs.with_shards(run)).shards) == shards
            await asyncio.to_thread(coordinator.kill)
            results = sum(crowd.done.values())
        log = EventLog(connection, open_store(store, chosen))
        started: Counter[tuple[int, str]] = Counter()
        async for events in log.scan(spec.run_id):
            for _, event in events:
                if event.HasField("step_started"):
                    started[event.step_started.round, event.step_started.step] += 1
                    if (event.step_started.round, event.step_started.step) in large:
                        assert len(set(event.step_started.job_keys)) == shards
        assert set(started.values()) == {1}
        assert set(large) <= set(started)
    finally:
        coordinator.stop()
        await connection.close()
    print(
        f"\n{images} images, {shards} shards: {results} results in {wall:.0f} s ({results / wall:.0f}/s); coordinator: "
        f"{coordinator.cpu_seconds:.0f} s of CPU ({results / coordinator.cpu_seconds:.0f} results a CPU second), peak "
        f"{coordinator.peak_bytes / 2**20:.0f} MiB, started anew in {again:.1f} s; a watcher was told {told} times"
    )
    assert coordinator.peak_bytes <= GIB
    if images >= 1_000_000:
        # CPU time of the coordinator: other programs on the machine are not its cost.
        assert results / coordinator.cpu_seconds >= 1000


async def reached(crowd: Crowd, method: str, count: int) -> None:
    while crowd.done[method] < count:
        await asyncio.sleep(0.05)


async def ended(runs: RunsClient, address: str, run_id: str) -> tuple[pb.RunView, int]:
    """Watch to the end; health and the list of runs answer all the while."""
    told, asked = 0, 0.0
    async for response in runs.watch(run_id):
        told += 1
        if response.run.status != pb.RUN_STATUS_RUNNING:
            return response.run, told
        if time.monotonic() - asked > 2:
            asked = time.monotonic()
            assert await rpc.is_serving(address, timeout=20)
            assert [one.spec.run_id for one in await runs.list()] == [run_id]
    raise AssertionError("the watch ended before the run")
