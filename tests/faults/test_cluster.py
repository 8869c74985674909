"""Three real servers; the stream's leader is killed, and cut off, while messages are published and jobs run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import NatsProcess, free_port
from tessera.errors import TesseraError
from tessera.runtime import topology
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.streams import StreamSpec
from toy.harness import bed, eventually, request

pytestmark = [pytest.mark.faults, pytest.mark.full, pytest.mark.timeout(900)]


class Node(NatsProcess):
    """One of three servers; it is ready when it listens, the cluster when it has a leader."""

    def __init__(self, folder: Path, name: str, port: int, routes: list[int], own: int) -> None:
        super().__init__(folder, port, sync_always=True)
        self.name, self._routes, self._own = name, routes, own

    def arguments(self) -> list[str]:
        arguments = super().arguments()
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self._routes)
        with (self.folder / "nats.conf").open("a") as configuration:
            configuration.write(
                f'server_name: {self.name}\ncluster {{ name: three, listen: "127.0.0.1:{self._own}", '
                f"routes: [{routes}], no_advertise: true }}\n"
            )
        return arguments


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, Node]]:
    """Three running servers by name."""
    ports = [free_port() for _ in range(6)]
    nodes = {
        name: Node(tmp_path / name, name, ports[index], ports[3:], ports[3 + index])
        for index, name in enumerate(("one", "two", "three"))
    }
    try:
        for node in nodes.values():
            node.start()
        yield nodes
    finally:
        for node in nodes.values():
            if node.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(node.pid, signal.SIGCONT)
            node.kill()


def _url(cluster: dict[str, Node]) -> str:
    return ",".join(node.url for node in cluster.values())


async def _connected(url: str) -> Messaging:
    """Connect once the cluster has elected whoever answers for JetStream."""
    end = time.monotonic() + 60
    while True:
        connection = await connect(url, name="test", first_seconds=10)
        try:
            await connection.check()
            await connection.ensure_stream(StreamSpec("PROBE", ("probe",), "limits", 600, replicas=3))
        except TesseraError:
            await connection.close()
            assert time.monotonic() < end, "the cluster elects no leader"
            await asyncio.sleep(1)
        else:
            return connection


async def _leader(connection: Messaging, stream: str) -> str:
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(Exception):
            cluster = (await connection._js.stream_info(stream)).cluster
            if cluster is not None and cluster.leader:
                return str(cluster.leader)
        assert time.monotonic() < end, f"{stream} has no leader"
        await asyncio.sleep(0.5)


async def test_nothing_is_lost_or_doubled_while_leaders_die_and_are_cut_off(
    tmp_path: Path, cluster: dict[str, Node]
) -> None:
    url = _url(cluster)
    first = await _connected(url)
    acked: list[int] = []
    longest = 0.0
    stopped = False

    async def publish(connection: Messaging) -> None:
        nonlocal longest
        count = 0
        while not stopped:
            began = time.monotonic()
            acked.append((await connection.publish("l.a", b"%d" % count, patience=60)).sequence)
            longest = max(longest, time.monotonic() - began)
            count += 1

    try:
        await first.ensure_stream(StreamSpec("L", ("l.>",), "limits", 600, replicas=3))
        publishing = asyncio.create_task(publish(first))
        fields = {"nats_replicas": 3, "ack_wait": 5.0, "heartbeat": 1.0, "max_attempts": 8}
        async with bed(tmp_path, url, **fields) as made:
            service = await made.start()
            keys = await made.submit(*(request(seed, "sleep:0.3", "noise") for seed in range(60)))
            for fault in ("kill", "stop", "kill"):
                victim = cluster[await _leader(made.messaging, topology.JOBS if fault == "kill" else "L")]
                if fault == "kill":
                    victim.kill()
                    await asyncio.sleep(5)
                    await asyncio.to_thread(victim.start)
                else:
                    os.kill(victim.pid, signal.SIGSTOP)
                    await asyncio.sleep(10)
                    os.kill(victim.pid, signal.SIGCONT)
                await asyncio.sleep(3)
            events = await made.ends(len(keys), seconds=180)
            stopped = True
            await asyncio.wait_for(publishing, 90)
            await eventually(made._empty)
            done = [event.job_done.record for event in events if event.HasField("job_done")]
            assert sorted({record.job_key for record in done}) == sorted(keys)
            assert await DeadLetters(made.messaging).list() == []
            assert service.process is not None
            assert service.process.poll() is None
        stored = await first.read("L", "l.a")
    finally:
        await first.close()
    print(f"{len(acked)} acknowledged over three faults; longest wait {longest:.1f} s")
    assert len(acked) > 100
    assert {one.sequence for one in stored} >= set(acked)
    assert len({one.data for one in stored}) == len(stored) == len(set(acked))


async def _current(connection: Messaging, stream: str, members: set[str]) -> None:
    """Wait until every member has all of a stream."""
    end = time.monotonic() + 90
    while True:
        with contextlib.suppress(Exception):
            cluster = (await connection._js.stream_info(stream)).cluster
            if cluster is not None:
                there = {one.name for one in cluster.replicas or () if one.current and not one.offline}
                if there | {cluster.leader} >= members:
                    return
        assert time.monotonic() < end, f"{stream}: a member did not catch up"
        await asyncio.sleep(0.5)


async def test_a_server_that_lost_its_disk_gets_everything_back_from_the_others(
    tmp_path: Path, cluster: dict[str, Node]
) -> None:
    """One server is wiped while jobs run and rejoins; then the others are killed, one after the other."""
    url = _url(cluster)
    first = await _connected(url)
    try:
        fields = {"nats_replicas": 3, "ack_wait": 5.0, "heartbeat": 1.0, "max_attempts": 8}
        async with bed(tmp_path, url, **fields) as made:
            await made.start()
            keys = await made.run(*(request(seed, "sleep:0.3", "noise") for seed in range(60)))
            wiped = await _leader(first, topology.JOBS)
            for victim in (wiped, *sorted(set(cluster) - {wiped})):
                cluster[victim].kill()
                if victim == wiped:
                    shutil.rmtree(cluster[victim].folder / "store")
                await asyncio.sleep(2)
                await asyncio.to_thread(cluster[victim].start)
                streams = [spec.name for spec in topology.streams(made.settings)]
                for stream in (*streams, *(f"KV_{spec.name}" for spec in topology.buckets(made.settings))):
                    await _current(first, stream, set(cluster))
            await made.audited(keys)
    finally:
        await first.close()
