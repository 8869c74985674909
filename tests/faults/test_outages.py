"""The store away, JetStream without room: jobs wait, use up no attempt, say so, and go on by themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from servers import NatsProcess, S3Process, running
from tessera.errors import TesseraError
from tessera.pb.scorer_pb2 import ScoreResponse
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.messaging import Messaging
from tessera.runtime.streams import StreamSpec
from toy.harness import RUN, Bed, bed, eventually, request

pytestmark = pytest.mark.faults


@contextlib.contextmanager
def _store_away(folder: Path) -> Iterator[None]:
    """The store's folder is gone, like a lost mount."""
    store = folder / "store"
    store.mkdir(exist_ok=True)
    store.rename(folder / "store.away")
    store.touch()
    try:
        yield
    finally:
        store.unlink()
        (folder / "store.away").rename(store)


@contextlib.asynccontextmanager
async def _listening(made: Bed) -> AsyncIterator[list[str]]:
    """Yield the notes of jobs."""
    notes: list[str] = []

    async def listen() -> None:
        async for told in made.events.progress(RUN):
            notes.append(told.note)  # noqa: PERF401  # looked at while it grows

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.2)
    try:
        yield notes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.full
async def test_a_store_that_is_away_for_longer_than_all_attempts_fails_no_job(tmp_path: Path, nats_url: str) -> None:
    # One attempt, two deliveries: those are used up 2 s after the first.
    async with bed(tmp_path, nats_url, max_attempts=1) as made, _listening(made) as notes:
        service = await made.start()
        with _store_away(tmp_path):
            await made.submit(request(1), request(2))
            await asyncio.sleep(6)
            assert any(note.startswith("waiting: object ") for note in notes), notes
            assert await made.events.read(RUN) == []
        events = await made.ends(2)
        await made.idle()
        assert [event.WhichOneof("kind") for event in events] == ["job_done"] * 2
        assert {event.job_done.record.attempt for event in events} == {1}
        assert await DeadLetters(made.messaging).list() == []
        assert service.log.count("jobs wait") <= 2


class Small(NatsProcess):
    """A server with room for 24 MB."""

    def arguments(self) -> list[str]:
        arguments = super().arguments()
        configuration = self.folder / "nats.conf"
        configuration.write_text(configuration.read_text().replace("max_file: 1GB", "max_file: 24MB"))
        return arguments


async def _fill(messaging: Messaging) -> None:
    """Take all the room that is left, down to the last kilobyte."""
    await messaging.ensure_stream(StreamSpec("FILLER", ("filler",), "limits", 600))
    for size in (256 << 10, 16 << 10, 1 << 10, 64, 1):
        with contextlib.suppress(TesseraError):
            while True:
                await messaging.publish("filler", b"x" * size, patience=0.0)


async def test_jetstream_without_room_loses_no_job(tmp_path: Path) -> None:
    """Before, every delivery was burnt without being given back, and the advisory could not be stored either."""
    with running(Small(tmp_path / "nats")) as server:
        assert isinstance(server, NatsProcess)
        fields = {"ack_wait": 1.0, "heartbeat": 0.3, "max_attempts": 1, "sweep_seconds": 1.0}
        async with bed(tmp_path, server.url, **fields) as made:
            await made.submit(*(request(seed) for seed in range(6)))
            await _fill(made.messaging)
            service = await made.start()
            await asyncio.sleep(6)
            assert await made.events.read(RUN) == []
            assert service.process is not None
            assert service.process.poll() is None
            await made.messaging._js.delete_stream("FILLER")
            events = await made.ends(6)
            await made.idle()
            assert [event.WhichOneof("kind") for event in events] == ["job_done"] * 6
            assert await DeadLetters(made.messaging).list() == []


@pytest.mark.full
async def test_jetstream_that_fills_up_while_jobs_compute_counts_no_attempt(tmp_path: Path) -> None:
    """Attempts counted at the start cannot be subtracted while there is no room; they are subtracted afterwards."""
    with running(Small(tmp_path / "nats")) as server:
        assert isinstance(server, NatsProcess)
        async with bed(tmp_path, server.url, ack_wait=1.0, heartbeat=0.3, max_attempts=1, sweep_seconds=1.0) as made:
            await made.start()
            full = tmp_path / "full"
            await made.submit(*(request(seed, f"until:{full}") for seed in range(3)))
            await eventually(lambda: made.runs(0))
            await _fill(made.messaging)
            full.touch()
            await asyncio.sleep(5)
            assert await made.events.read(RUN) == []
            await made.messaging._js.delete_stream("FILLER")
            events = await made.ends(3)
            await made.idle()
            assert [event.WhichOneof("kind") for event in events] == ["job_done"] * 3
            assert await DeadLetters(made.messaging).list() == []


async def test_a_publisher_that_finds_jetstream_full_waits_and_goes_on(tmp_path: Path) -> None:
    with running(Small(tmp_path / "nats")) as server:
        assert isinstance(server, NatsProcess)
        async with bed(tmp_path, server.url) as made:
            await made.start()
            await _fill(made.messaging)
            waiting = asyncio.create_task(made.submit(request(1)))
            await asyncio.sleep(2)
            assert not waiting.done()
            await made.messaging._js.delete_stream("FILLER")
            await waiting
            (event,) = await made.ends(1)
            assert event.HasField("job_done")


async def test_a_queue_that_is_full_refuses_and_takes_again(tmp_path: Path, nats_url: str) -> None:
    """``discard=new``: nothing that was accepted is dropped for something newer."""
    async with bed(tmp_path, nats_url, jobs_limit=5) as made:
        await made.submit(*(request(seed) for seed in range(5)))
        waiting = asyncio.create_task(made.submit(request(5)))
        await asyncio.sleep(1)
        assert not waiting.done()
        await made.start()
        await waiting
        assert len(await made.ends(6)) == 6


@pytest.mark.full
async def test_an_object_server_that_is_away_mid_upload_leaves_no_half_record(
    tmp_path: Path, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blobs may exist without a record, never a record without its blobs."""
    with running(S3Process(tmp_path / "s3")) as server:
        assert isinstance(server, S3Process)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        fields = {"store": f"s3://{server.bucket}/r9", "s3_attempts": 1, "max_attempts": 1}
        async with bed(tmp_path, nats_url, cache_dir=tmp_path / "cache", **fields) as made:
            await made.start()
            await made.submit(*(request(seed, "sleep:0.5") for seed in range(6)))
            await eventually(lambda: made.runs(2))
            server.kill()
            await asyncio.sleep(4)
            server.start()
            events = await made.ends(6)
            await made.idle()
            assert [event.WhichOneof("kind") for event in events] == ["job_done"] * 6
            for event in events:
                record = await made.record(event.job_done.record.job_key)
                assert record == event.job_done.record
                assert (await made.store.get(ScoreResponse.FromString(record.response).scores)).startswith(b"toy ")
