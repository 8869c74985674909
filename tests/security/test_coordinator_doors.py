"""Hostile calls to a coordinator: many streams, huge runs. Real NATS, real gRPC; other clients are still answered."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest

from tessera.errors import BadInput, Unavailable
from tessera.loop import plan
from tessera.pb import runs_pb2 as pb
from tessera.runtime import rpc
from unit.coordinator.test_nats import SERVICE, Cluster, submit
from unit.loop.simulator import load as recipe
from unit.loop.simulator import spec_of


def idle(run_id="run-1"):
    """A run that waits for ever, because no worker serves its jobs."""
    return spec_of(recipe("street_random"), run_id=run_id)


@contextlib.asynccontextmanager
async def alone(nats_url, folder, **changes):
    """A coordinator without workers; yields its cluster and its address."""
    cluster = Cluster(nats_url, folder, **changes)
    cluster.work = lambda verb: asyncio.sleep(0)
    async with cluster, cluster.coordinator() as address:
        yield cluster, address


async def watching(address, run_id="run-1"):
    """A stream that has been answered once; the caller keeps it open."""
    stream = rpc.stream(address, f"{SERVICE}/WatchRun", pb.WatchRunRequest(run_id=run_id), pb.WatchRunResponse)
    await asyncio.wait_for(anext(stream), 30)
    return stream


async def everything_answers(address):
    """Health, list and cancel, each of which a blocked door would refuse."""
    assert await rpc.is_serving(address, timeout=20)
    assert await rpc.is_serving(address, SERVICE, timeout=20)
    listed = await rpc.call(address, f"{SERVICE}/ListRuns", pb.ListRunsRequest(), pb.ListRunsResponse, 20)
    assert [run.spec.run_id for run in listed.runs] == ["run-1"]
    request = pb.CancelRunRequest(run_id="run-1", reason="enough")
    cancelled = await rpc.call(address, f"{SERVICE}/CancelRun", request, pb.CancelRunResponse, 20)
    assert cancelled.run.status == pb.RUN_STATUS_CANCELLED


async def test_seventy_watchers_block_nobody(nats_url, tmp_path):
    async with alone(nats_url, tmp_path) as (_, address):
        await submit(address, idle())
        streams = [await watching(address) for _ in range(70)]
        await everything_answers(address)
        # All of them are told the end.
        ends = await asyncio.gather(*(_last(stream) for stream in streams))
        assert {end.run.status for end in ends} == {pb.RUN_STATUS_CANCELLED}


async def _last(stream):
    async with asyncio.timeout(60):
        return [response async for response in stream][-1]


async def test_more_streams_than_allowed_are_refused_and_nothing_else_is(nats_url, tmp_path):
    async with alone(nats_url, tmp_path, grpc_streams=3, grpc_concurrency=2) as (_, address):
        await submit(address, idle())
        streams = [await watching(address) for _ in range(3)]
        for _ in range(5):
            with pytest.raises(Unavailable, match=r"refused, 3 streams are open.*TESSERA_GRPC_STREAMS"):
                await watching(address)
        await streams.pop().aclose()
        await asyncio.sleep(0.5)
        streams.append(await watching(address))
        await everything_answers(address)
        for stream in streams:
            await stream.aclose()


HUGE = 2**31 - 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"split_sizes": {"train": HUGE, "val": 10, "test": 9}}, "134217728 shards of 16, at most 250000"),
        ({"split_sizes": {"train": 40, "val": 10, "test": HUGE}}, "split 'test' are 134217728 shards"),
        ({"split_sizes": {"train": 300_000, "val": 10, "test": 9}, "shard_images": 1}, "300000 shards of 1"),
        ({"shard_images": -16}, "shard_images is -16"),
        ({"class_names": [f"class {number} {'x' * 100}" for number in range(2000)]}, "its description has 2"),
    ],
    ids=["train", "test", "shards of one", "negative", "classes"],
)
async def test_a_run_that_no_memory_holds_is_refused_before_anything_is_stored(nats_url, tmp_path, change, reason):
    async with alone(nats_url, tmp_path) as (cluster, address):
        await submit(address, idle())
        spec = idle("huge")
        for name, value in change.items():
            spec.ClearField(name)
            spec.MergeFrom(pb.RunSpec(**{name: value}))
        began = time.monotonic()
        with pytest.raises(BadInput, match=reason):
            await submit(address, spec)
        assert time.monotonic() - began < 20
        await everything_answers(address)
        assert await cluster.events.run_ids() == ["run-1"]
        assert await cluster.events.read("huge") == []


async def test_calls_are_answered_while_a_step_is_planned(nats_url, tmp_path, monkeypatch):
    reached, go_on, planned = threading.Event(), threading.Event(), plan.next_action

    def slow(state):
        reached.set()
        assert go_on.wait(60)
        return planned(state)

    monkeypatch.setattr(plan, "next_action", slow)
    try:
        async with alone(nats_url, tmp_path) as (_, address):
            await submit(address, idle())
            assert await asyncio.to_thread(reached.wait, 30)
            await everything_answers(address)
            assert not go_on.is_set()
            go_on.set()
    finally:
        go_on.set()
