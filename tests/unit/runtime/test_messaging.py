"""Measured behaviour of JetStream that the job plane relies on, against a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from servers import NatsProcess
from tessera.errors import BadInput, Conflict, Unavailable
from tessera.runtime import messaging as messaging_module
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.streams import BucketSpec, ConsumerSpec, StreamSpec

QUEUE = StreamSpec("Q", ("q.>",), "workqueue", 60, discard="new", max_msgs=3, max_msg_size=1024, duplicate_window=60)
LOG = StreamSpec("L", ("l.>",), "limits", 600)


def consumer(ack_wait: float = 1.0, max_deliver: int = 3) -> ConsumerSpec:
    return ConsumerSpec("Q", "c", "q.a", ack_wait, max_deliver, 100)


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[Messaging]:
    connection = await connect(nats_url, name="test")
    await connection.ensure_stream(QUEUE)
    await connection.ensure_stream(LOG)
    await connection.ensure_bucket(BucketSpec("kv"))
    yield connection
    await connection.close()


async def test_a_message_id_counts_once_even_after_it_was_consumed(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer())
    first = await nats.publish("q.a", b"1", message_id="x")
    pull = await nats.bind("Q", "c")
    delivery = await pull.fetch(1)
    assert delivery is not None
    await delivery.ack_sync()
    second = await nats.publish("q.a", b"1", message_id="x")
    assert (first.duplicate, second.duplicate) == (False, True)
    assert await pull.fetch(0.3) is None


async def test_a_work_queue_takes_one_consumer_a_filter(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer())
    with pytest.raises(Unavailable, match="10100"):
        await nats.ensure_consumer(ConsumerSpec("Q", "other", "q.a", 1, 3, 10))


async def test_a_full_queue_holds_the_publisher_back_until_there_is_room(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer())
    for index in range(3):
        await nats.publish("q.a", b"%d" % index)
    with pytest.raises(Unavailable, match="full"):
        await nats.publish("q.a", b"3", patience=0.3)
    waiting = asyncio.create_task(nats.publish("q.a", b"3", patience=10))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    pull = await nats.bind("Q", "c")
    delivery = await pull.fetch(1)
    assert delivery is not None
    await delivery.ack_sync()
    assert (await waiting).sequence == 4


async def test_heartbeats_keep_a_message_and_silence_loses_it(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer(ack_wait=0.5))
    await nats.publish("q.a", b"long")
    mine, other = await nats.bind("Q", "c"), await nats.bind("Q", "c")
    delivery = await mine.fetch(1)
    assert delivery is not None
    for _ in range(10):
        await delivery.in_progress()
        assert await other.fetch(0.15) is None
    again = await other.fetch(2)
    assert again is not None
    assert again.delivered == 2


async def test_nak_waits_for_its_delay(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer(ack_wait=10))
    await nats.publish("q.a", b"x")
    pull = await nats.bind("Q", "c")
    delivery = await pull.fetch(1)
    assert delivery is not None
    started = time.monotonic()
    await delivery.nak(0.6)
    again = await pull.fetch(4)
    assert again is not None
    assert 0.5 < time.monotonic() - started < 5  # not the ack wait of 10 s
    await again.nak(0)
    assert await pull.fetch(1) is not None


async def test_term_deletes_from_the_queue(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer(ack_wait=0.2))
    sequence = (await nats.publish("q.a", b"x")).sequence
    delivery = await (await nats.bind("Q", "c")).fetch(1)
    assert delivery is not None
    await delivery.term()
    await asyncio.sleep(0.1)
    assert await nats.get("Q", sequence) is None


async def test_a_late_ack_is_taken_so_results_must_be_fenced_elsewhere(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer(ack_wait=0.3))
    sequence = (await nats.publish("q.a", b"x")).sequence
    pull = await nats.bind("Q", "c")
    stale = await pull.fetch(1)
    second = await pull.fetch(2)
    assert stale is not None
    assert second is not None
    await stale.ack_sync()
    assert await nats.get("Q", sequence) is None
    await second.ack_sync()


async def test_a_cancelled_fetch_gives_its_message_back_at_once(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer(ack_wait=30))
    pull, other = await nats.bind("Q", "c"), await nats.bind("Q", "c")
    task = asyncio.create_task(pull.fetch(2))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.sleep(0.05)
    started = time.monotonic()
    await nats.publish("q.a", b"x")
    delivery = await other.fetch(5)
    assert delivery is not None
    assert time.monotonic() - started < 5  # not the ack wait of 30 s
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_fetch_is_never_longer_than_five_seconds(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer())
    with pytest.raises(ValueError, match="at most 5 s"):
        await (await nats.bind("Q", "c")).fetch(6)


@pytest.mark.parametrize("error", [TimeoutError, asyncio.TimeoutError, messaging_module.wire.nats.errors.TimeoutError])
async def test_every_kind_of_time_out_means_no_message(
    nats: Messaging, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    await nats.ensure_consumer(consumer())
    pull = await nats.bind("Q", "c")

    async def fetch(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pull._subscription, "fetch", fetch)
    assert await pull.fetch(1) is None


async def test_a_message_that_came_after_the_fetch_goes_back_on_close(nats: Messaging) -> None:
    await nats.ensure_consumer(consumer(ack_wait=30))
    pull, other = await nats.bind("Q", "c"), await nats.bind("Q", "c")
    # A pull request without a reader: what a fetch leaves behind when the message crosses its expiry.
    subscription = pull._subscription
    await subscription._nc.publish(subscription._nms, b'{"batch":1,"expires":2000000000}', subscription._deliver)
    await nats.publish("q.a", b"x")
    await asyncio.sleep(0.1)
    await pull.close()
    assert await other.fetch(2) is not None


async def test_closing_with_unread_messages_is_quick(nats_url: str) -> None:
    connection = await connect(nats_url, name="closing")
    await connection.ensure_stream(QUEUE)
    await connection.ensure_consumer(consumer())
    await connection.publish("q.a", b"x")
    subscription = (await connection.bind("Q", "c"))._subscription
    await subscription._nc.publish(subscription._nms, b'{"batch":1}', subscription._deliver)
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await connection.close()
    assert time.monotonic() - started < 4  # not the 5 s that draining may take


async def test_binding_does_not_change_the_consumer_and_drift_is_seen(nats: Messaging) -> None:
    assert await nats.ensure_consumer(consumer(ack_wait=1.0)) == {}
    await nats.bind("Q", "c")
    assert await nats.ensure_consumer(consumer(ack_wait=99.0)) == {"ack_wait": (99.0, 1.0)}
    assert await nats.ensure_consumer(consumer(ack_wait=1.0)) == {}


async def test_key_value_is_an_optimistic_lock(nats: Messaging) -> None:
    assert await nats.kv_get("kv", "n") is None
    await nats.kv_create("kv", "n", b"0")
    with pytest.raises(Conflict):
        await nats.kv_create("kv", "n", b"0")

    async def increment(times: int) -> int:
        conflicts = 0
        while times:
            entry = await nats.kv_get("kv", "n")
            assert entry is not None
            try:
                await nats.kv_update("kv", "n", b"%d" % (int(entry.value) + 1), entry.revision)
                times -= 1
            except Conflict:
                conflicts += 1
        return conflicts

    conflicts = await asyncio.gather(*(increment(10) for _ in range(4)))
    entry = await nats.kv_get("kv", "n")
    assert entry is not None
    assert entry.value == b"40"
    assert sum(conflicts) > 0
    await nats.kv_delete("kv", "n")
    assert await nats.kv_get("kv", "n") is None
    await nats.kv_create("kv", "n", b"again")


async def test_expected_last_sequence_lets_one_writer_through(nats: Messaging) -> None:
    first = await nats.publish("l.run", b"1", expected_last=0)
    results = await asyncio.gather(
        *(nats.publish("l.run", b"2", expected_last=first.sequence) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(result, Conflict) for result in results) == 4
    assert await nats.last_sequence("L", "l.run") == first.sequence + 1
    assert await nats.last_sequence("L", "l.none") == 0


async def test_a_repeated_append_is_recognised_before_its_expectation_is_checked(nats: Messaging) -> None:
    """A publish that was stored but not answered is repeated; it must not conflict with itself."""
    first = await nats.publish("l.run", b"1", expected_last=0, message_id="id")
    again = await nats.publish("l.run", b"1", expected_last=0, message_id="id")
    assert again.duplicate
    assert again.sequence == first.sequence


@pytest.mark.parametrize("size", [1025, 2 << 20])
async def test_too_large_a_message_is_refused(nats: Messaging, size: int) -> None:
    with pytest.raises(BadInput, match="reference"):
        await nats.publish("q.a", bytes(size))


async def test_reading_and_following_survive_a_restart_without_a_gap(nats_server: NatsProcess) -> None:
    connection = await connect(nats_server.url, name="follow")
    try:
        await connection.ensure_stream(LOG)
        for index in range(250):
            await connection.publish("l.a", b"%d" % index)
        assert [int(one.data) for one in await connection.read("L", "l.*")] == list(range(250))
        assert await connection.read("L", "l.none") == []
        seen: list[int] = []

        async def follow() -> None:
            async for stored in connection.follow("L", "l.*", 101):
                seen.append(int(stored.data))  # noqa: PERF401  # looked at while it grows

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.5)
        await asyncio.to_thread(nats_server.restart)
        for index in range(250, 260):
            await connection.publish("l.a", b"%d" % index)
        async with asyncio.timeout(20):
            while len(seen) < 160:
                await asyncio.sleep(0.05)
        assert seen == list(range(100, 260))
        started = time.monotonic()
        await connection.publish("l.a", b"260")
        while len(seen) < 161:
            await asyncio.sleep(0.01)
            assert time.monotonic() - started < 10
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    finally:
        await connection.close()


async def test_the_first_connection_is_bounded_and_names_the_remedy() -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"nats://127\.0\.0\.1:1.*start nats-server"):
        await connect("nats://127.0.0.1:1", name="x", first_seconds=1.0)
    assert time.monotonic() - started < 10


async def test_telling_reaches_who_listens(nats: Messaging) -> None:
    heard = []

    async def listen() -> None:
        async for _, data in nats.listen("tell.*"):
            heard.append(data)
            if len(heard) == 2:
                return

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.1)
    await nats.tell("tell.a", b"1")
    await nats.tell("tell.b", b"2")
    await asyncio.wait_for(task, 20)
    assert heard == [b"1", b"2"]


async def test_reading_a_stream_that_is_not_there_says_so_at_once(nats: Messaging) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match="stream DLQ: is not in NATS"):
        await nats.read("DLQ", "tessera.dlq.>")
    assert time.monotonic() - started < 10  # not after 15 s of patience
