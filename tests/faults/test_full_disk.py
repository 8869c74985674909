"""The disk of the object server, or of NATS, is full: nothing is half written, and all goes on afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from servers import NatsProcess, S3Process, ServerProcess, find_binary, running
from tessera.cli import doctor
from tessera.errors import Unavailable
from tessera.pb.scorer_pb2 import ScoreResponse
from tessera.runtime import topology
from tessera.runtime.dead_letters import DeadLetters
from toy.harness import RUN, Bed, bed, request

pytestmark = pytest.mark.faults


def _can_mount() -> bool:
    """Whether this user may mount a disk of memory, in a namespace of its own."""
    command = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


needs_mount = pytest.mark.skipif(not _can_mount(), reason="unshare -Urm and mount -t tmpfs are not allowed here")


class _SmallDisk(ServerProcess):
    """A server whose ``disk`` is 12 MiB of memory that only it, and we through /proc, can see."""

    def on_small_disk(self, disk: Path, command: list[str]) -> list[str]:
        disk.mkdir(parents=True, exist_ok=True)
        where = shlex.quote(str(disk))
        script = f"mount -t tmpfs -o size=12m tmpfs {where} && mkdir {where}/tessera && exec {shlex.join(command)}"
        return ["-Urm", "sh", "-c", script]

    def seen(self, path: Path) -> Path:
        """A path as the server sees it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def fill(self, disk: Path) -> Path:
        filler = self.seen(disk) / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        return filler


class SmallS3(_SmallDisk, S3Process):
    binary = "unshare"

    def arguments(self) -> list[str]:
        return self.on_small_disk(self.data, [str(find_binary("rclone")), *super().arguments()])


class SmallNats(_SmallDisk, NatsProcess):
    binary = "unshare"

    def arguments(self) -> list[str]:
        return self.on_small_disk(self.folder / "store", [str(find_binary("nats-server")), *super().arguments()])


async def _all_done(made: Bed, count: int) -> None:
    events = await made.ends(count)
    await made.idle()
    assert [event.WhichOneof("kind") for event in events] == ["job_done"] * count
    for event in events:
        record = await made.record(event.job_done.record.job_key)
        assert record == event.job_done.record
        assert (await made.store.get(ScoreResponse.FromString(record.response).scores)).startswith(b"toy ")
    assert await DeadLetters(made.messaging).list() == []


@needs_mount
@pytest.mark.full
async def test_a_full_disk_of_the_object_server_fails_no_job_and_leaves_no_half_record(
    tmp_path: Path, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(SmallS3(tmp_path / "s3")) as server:
        assert isinstance(server, SmallS3)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        fields = {"store": f"s3://{server.bucket}/r9", "s3_attempts": 1, "max_attempts": 1}
        async with bed(tmp_path, nats_url, cache_dir=tmp_path / "cache", **fields) as made:
            await made.start()
            filler = server.fill(server.data)
            with pytest.raises(Unavailable):
                await made.store.put_content(b"y" * 10_000, "text/plain")
            await made.submit(*(request(seed) for seed in range(6)))
            await asyncio.sleep(5)
            assert await made.events.read(RUN) == []
            filler.unlink()
            await _all_done(made, 6)


class LittleRoom(NatsProcess):
    """A server that may store 2 MB."""

    def arguments(self) -> list[str]:
        arguments = super().arguments()
        configuration = self.folder / "nats.conf"
        configuration.write_text(configuration.read_text().replace("1GB", "2MB"))
        return arguments


async def _room(made: Bed) -> tuple[str, str, int]:
    """What tessera doctor says of the room in NATS."""
    where = doctor.Where(made.messaging.url, None, None, None, None, None, local=False)
    return await doctor._room(where, made.messaging)


async def _stored(made: Bed) -> dict[str, int]:
    """Number of messages by stream."""
    return {one.config.name: one.state.messages for one in await made.messaging._js.streams_info()}


async def test_doctor_says_when_streams_store_nothing_and_leaves_no_message(tmp_path: Path) -> None:
    with running(LittleRoom(tmp_path / "nats")) as server:
        assert isinstance(server, LittleRoom)
        async with bed(tmp_path, server.url) as made:
            before = await _stored(made)
            assert (await _room(made))[0] == doctor.OK
            assert await _stored(made) == before
            assert sum(before.values()) == 0
            with contextlib.suppress(Unavailable):
                while True:
                    await made.messaging.publish("tessera.dlq.x", b"x" * 60_000, patience=0.0)
            state, text, code = await _room(made)
            assert (state, code) == (doctor.BROKEN, 3)
            assert "nats-server and start it again" in text
            for name in (topology.JOBS, topology.EVENTS, topology.DLQ, "KV_results", "KV_attempts", "KV_cancelled"):
                assert f"{name} stores nothing (publish to " in text
            await made.messaging._js.purge_stream(topology.DLQ)
            assert (await _room(made))[0] == doctor.OK
            assert await _stored(made) == before


@needs_mount
@pytest.mark.full
async def test_a_full_disk_of_nats_loses_no_job(tmp_path: Path) -> None:
    """The worker has nowhere to commit, tell or count, and waits.

    A stream that met a full disk takes nothing more until nats-server is started again, room or not (2.15): that is
    left to the operator, and the worker goes on by itself afterwards.
    """
    small = SmallNats(tmp_path / "small")
    with running(small):
        async with bed(tmp_path, small.url, ack_wait=1.0, heartbeat=0.3, max_attempts=2, sweep_seconds=1.0) as made:
            service = await made.start()
            await made.submit(*(request(seed, "sleep:0.5") for seed in range(6)))
            filler = small.fill(small.folder / "store")
            await asyncio.sleep(6)
            assert len(await made.events.read(RUN)) < 6
            filler.unlink()
            state, text, _ = await _room(made)
            assert state == doctor.BROKEN, "there is room, and nothing is stored all the same"
            assert "start it again" in text
            # Its disk goes with the process: the next one gets a copy.
            small.pause()
            shutil.copytree(small.seen(small.folder / "store"), tmp_path / "large" / "store")
            small.kill()
            with running(NatsProcess(tmp_path / "large", small.port)):
                await _all_done(made, 6)
                assert (await _room(made))[0] == doctor.OK
                assert service.process is not None
                assert service.process.poll() is None
