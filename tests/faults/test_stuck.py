"""Messages that the server no longer delivers: found without an advisory, and done or kept as dead letters."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tessera.runtime import topology
from tessera.runtime.attempts import Attempts
from tessera.runtime.dead_letters import DeadLetters
from toy.harness import Bed, bed, eventually, request

pytestmark = pytest.mark.faults


async def _use_up(made: Bed, count: int) -> None:
    """Have the server deliver ``count`` messages for the last time, and lose its advisories."""
    pull = await made.messaging.bind("JOBS", "worker-score")
    seen: dict[int, int] = {}
    while sum(seen.values()) < count * (made.settings.max_attempts + 1):
        delivery = await pull.fetch(2)
        if delivery is not None:
            seen[delivery.sequence] = seen.get(delivery.sequence, 0) + 1
    await asyncio.sleep(made.settings.ack_wait * 2)
    assert await pull.fetch(0.5) is None
    await pull.close()
    await made.messaging._js.purge_stream(topology.ADVISORIES)
    info = await made.messaging._js.consumer_info("JOBS", "worker-score")
    assert (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_jobs_whose_deliveries_went_by_in_an_outage_are_done(tmp_path: Path, nats_url: str) -> None:
    fields = {"ack_wait": 0.5, "heartbeat": 0.2, "max_attempts": 1, "sweep_seconds": 0.3}
    async with bed(tmp_path, nats_url, **fields) as made:
        await made.submit(request(1), request(2))
        await _use_up(made, 2)
        await made.start()
        events = await made.ends(2)
        await made.idle()
        assert [event.WhichOneof("kind") for event in events] == ["job_done"] * 2
        assert (made.runs(1), made.runs(2)) == (1, 1)


@pytest.mark.full
async def test_they_are_found_while_other_jobs_are_in_hand(tmp_path: Path, nats_url: str) -> None:
    fields = {"ack_wait": 0.5, "heartbeat": 0.2, "max_attempts": 1, "sweep_seconds": 0.3}
    async with bed(tmp_path, nats_url, **fields) as made:
        await made.submit(request(1))
        await _use_up(made, 1)
        await made.submit(request(2, "sleep:6"))
        await made.start()
        await eventually(lambda: made.runs(2))
        events = await made.ends(2)
        await made.idle()
        assert [event.WhichOneof("kind") for event in events] == ["job_done"] * 2


async def test_a_job_that_ends_its_workers_before_they_count_is_given_up(tmp_path: Path, nats_url: str) -> None:
    fields = {"ack_wait": 0.3, "heartbeat": 0.1, "max_attempts": 1, "sweep_seconds": 0.3}
    async with bed(tmp_path, nats_url, **fields) as made:
        (key,) = await made.submit(request(1))
        for _ in range(3):
            assert await Attempts(made.messaging).swept(key) <= 3
        await _use_up(made, 1)
        await made.start()
        (event,) = await made.ends(1)
        await made.idle()
        assert event.job_failed.failure.reason == "crashed"
        assert made.runs(1) == 0
        assert len(await DeadLetters(made.messaging).list()) == 1


@pytest.mark.parametrize(
    "data",
    [
        b'{"stream_seq": Infinity, "deliveries": 2}',
        b'{"stream_seq": -1, "deliveries": 2}',
        b'{"stream_seq": 1e400}',
        b'{"stream_seq": 99999999999999999999}',
        b'{"stream_seq": true}',
        b"[" * 100_000,
        b"null",
        b"\xff",
        b"",
    ],
)
async def test_a_forged_advisory_ends_nothing(tmp_path: Path, nats_url: str, data: bytes) -> None:
    async with bed(tmp_path, nats_url) as made:
        service = await made.start()
        await made.messaging._client.publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.worker-score", data)

        async def read() -> bool:
            info = await made.messaging._js.consumer_info("ADVISORIES", "poison")
            return info.delivered.stream_seq == 1 and not info.num_ack_pending and not info.num_pending

        await eventually(read)
        await made.submit(request(1))
        await made.ends(1)
        assert service.process is not None
        assert service.process.poll() is None
