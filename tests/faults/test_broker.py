"""NATS killed, restarted and gone: attempts are remembered, jobs are done, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from servers import NatsProcess
from tessera.errors import Unavailable
from tessera.pb.runs_pb2 import RunCancelled, RunEvent
from tessera.runtime.attempts import Attempts
from tessera.runtime.messaging import connect
from toy.harness import bed, request

pytestmark = pytest.mark.faults


async def test_attempts_are_remembered_when_the_server_forgets_deliveries(
    tmp_path: Path, nats_server: NatsProcess
) -> None:
    async with bed(tmp_path, nats_server.url, ack_wait=0.4, heartbeat=0.1) as made:
        (key,) = await made.submit(request(1))
        pull = await made.messaging.bind("JOBS", "worker-score")
        attempts = Attempts(made.messaging)
        for expected in (1, 2, 3):
            delivery = None
            while delivery is None:
                try:
                    delivery = await pull.fetch(2)
                except Unavailable:
                    continue
            attempt = await attempts.begin(key, delivery.sequence)
            assert attempt.number == expected
            assert attempt.earlier == ("unavailable",) * (expected - 1)
            await attempts.end(key, delivery.sequence, attempt, "unavailable", "the store is away")
            await asyncio.to_thread(nats_server.restart)
        await attempts.refund(key, delivery.sequence, attempt)
        assert (await attempts.begin(key, delivery.sequence)).number == 3


async def test_jobs_and_events_survive_kills_of_the_server(tmp_path: Path, nats_server: NatsProcess) -> None:
    async with bed(tmp_path, nats_server.url, ack_wait=1.0, heartbeat=0.3) as made:
        service = await made.start()
        followed: list[str] = []

        async def follow() -> None:
            async for logged in made.events.follow("run-1"):
                followed.append(logged.event.job_done.record.job_key)  # noqa: PERF401  # looked at while it grows

        task = asyncio.create_task(follow())
        keys: list[str] = []
        for wave in range(3):
            keys += await made.submit(*(request(10 * wave + seed, "sleep:0.05") for seed in range(5)))
            await asyncio.to_thread(nats_server.restart)
        events = await made.ends(15, seconds=40)
        await made.idle(20)
        assert {event.WhichOneof("kind") for event in events} == {"job_done"}
        assert sorted(event.job_done.record.job_key for event in events) == sorted(keys)
        async with asyncio.timeout(10):
            while len(followed) < 15:
                await asyncio.sleep(0.05)
        assert sorted(followed) == sorted(keys)
        assert service.process is not None
        assert service.process.poll() is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_job_outlives_an_outage_longer_than_its_ack_wait(tmp_path: Path, nats_server: NatsProcess) -> None:
    async with bed(tmp_path, nats_server.url, ack_wait=1.0, heartbeat=0.3) as made:
        await made.start()
        await made.submit(request(1, "sleep:1", "noise"))
        while not made.runs(1):
            await asyncio.sleep(0.02)
        nats_server.kill()
        await asyncio.sleep(2.5)
        nats_server.start()
        (event,) = await made.ends(1, seconds=30)
        await made.idle(20)
        await asyncio.sleep(0.5)
        assert (await made.ends(1)) == [event]
        assert event.HasField("job_done")
        assert made.runs(1) == 1  # the record was found, or the first attempt went through


async def test_publishing_waits_out_a_restart_and_gives_up_in_the_end(nats_server: NatsProcess) -> None:
    from tessera.runtime import topology
    from tessera.runtime.events import EventLog
    from tessera.runtime.settings import load

    connection = await connect(nats_server.url, name="publisher")
    try:
        await topology.ensure(connection, load(nats_url=nats_server.url), [])
        log = EventLog(connection)
        event = RunEvent(cancelled=RunCancelled(reason="x"))
        first = await log.append("run", event, 0)
        nats_server.kill()
        waiting = asyncio.create_task(log.append("run", event, first))
        await asyncio.sleep(0.5)
        nats_server.start()
        assert await waiting > first
        assert len(await log.read("run")) == 2
        nats_server.kill()
        with pytest.raises(Unavailable, match="does not answer"):
            await connection.publish("tessera.event.run.log", b"", patience=1.0)
    finally:
        await connection.close()
