"""NATS killed, restarted and gone: attempts are remembered, jobs are done, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from servers import NatsProcess, running
from tessera.errors import Unavailable
from tessera.pb.runs_pb2 import RunCancelled, RunEvent
from tessera.runtime.attempts import Attempts
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.streams import ConsumerSpec, StreamSpec
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


@pytest.mark.full
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
        events = await made.ends(15)
        await made.idle()
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
        (event,) = await made.ends(1)
        await made.idle()
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


async def test_a_fetch_that_waits_across_a_restart_is_not_stuck(nats_server: NatsProcess) -> None:
    """The new server knows nothing of the request: it ends with its own short expiry, and the next one works."""
    connection = await connect(nats_server.url, name="fetching")
    try:
        await connection.ensure_stream(StreamSpec("Q", ("q.>",), "workqueue", 600))
        await connection.ensure_consumer(ConsumerSpec("Q", "c", "q.a", 5.0, 3, 10))
        pull = await connection.bind("Q", "c")
        waiting = asyncio.create_task(_next(pull.fetch, 2.0))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(nats_server.restart)
        await connection.publish("q.a", b"x")
        assert (await asyncio.wait_for(waiting, 60)) == b"x"
    finally:
        await connection.close()


async def _next(fetch: object, expires: float) -> bytes:
    while True:
        try:
            delivery = await fetch(expires)  # type: ignore[operator]
        except Unavailable:
            continue
        if delivery is not None:
            await delivery.ack_sync()
            return bytes(delivery.data)


async def test_no_acknowledged_message_is_lost_or_doubled_by_kills_of_the_server(tmp_path: Path) -> None:
    kills, publishers = 4, 4
    with running(NatsProcess(tmp_path / "nats", sync_always=True)) as server:
        connections = [await connect(server.url, name=f"publisher {n}") for n in range(publishers)]  # type: ignore[attr-defined]
        stopped = False
        acked: list[int] = []

        async def publish(connection: Messaging, who: int) -> None:
            count = 0
            while not stopped:
                ack = await connection.publish("l.a", b"%d-%d" % (who, count), patience=20)
                acked.append(ack.sequence)
                count += 1

        try:
            await connections[0].ensure_stream(StreamSpec("L", ("l.>",), "limits", 600))
            work = [asyncio.create_task(publish(each, who)) for who, each in enumerate(connections)]
            for _ in range(kills):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(server.restart)
            await asyncio.sleep(0.3)
            stopped = True
            await asyncio.gather(*work)
            stored = await connections[0].read("L", "l.a")
        finally:
            for connection in connections:
                await connection.close()
    print(f"{len(acked)} acknowledged over {kills} kills")
    assert len(acked) > 100
    assert {one.sequence for one in stored} >= set(acked)
    assert len({one.data for one in stored}) == len(stored) == len(set(acked))
