"""The connection to NATS refused, broken and ended: services come back by themselves, or leave so that they can."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers import NatsProcess, running
from tessera.errors import Unavailable
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.runtime import rpc, topology, wire
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.messaging import connect
from toy.harness import bed, envelope, eventually, request

pytestmark = pytest.mark.faults


class Guarded(NatsProcess):
    """A server that wants a token, which ``reload`` changes without a restart."""

    token = "first-token"  # noqa: S105  # of a server that lives as long as one test

    def arguments(self) -> list[str]:
        arguments = super().arguments()
        with (self.folder / "nats.conf").open("a") as configuration:
            configuration.write(f'authorization {{ token: "{self.token}" }}\n')
        return arguments

    def reload(self, token: str) -> None:
        self.token = token
        self.arguments()
        os.kill(self.pid, signal.SIGHUP)


@pytest.mark.full
async def test_a_token_that_is_refused_for_a_while_leaves_no_zombie(tmp_path: Path) -> None:
    with running(Guarded(tmp_path / "nats")) as server:
        assert isinstance(server, Guarded)
        async with bed(tmp_path, server.url, nats_token=server.token) as made:
            service = await made.start()
            await made.submit(request(1))
            await made.ends(1)
            server.reload("another-token")
            await eventually(lambda: _serving(service.address, False))
            await asyncio.sleep(4)
            lines = len(service.log.splitlines())
            await asyncio.sleep(2)
            assert len(service.log.splitlines()) - lines <= 6, service.log[-3000:]
            server.reload("first-token")
            await eventually(lambda: _serving(service.address, True))
            # Our own connection was refused as well and is back too.
            await made.submit(request(2))
            await made.ends(2)
            assert service.process is not None
            assert service.process.poll() is None


async def test_a_token_that_is_refused_is_said_to_be_the_fault(tmp_path: Path) -> None:
    with running(Guarded(tmp_path / "nats")) as server, pytest.raises(Unavailable, match="set TESSERA_NATS_TOKEN"):
        await connect(server.url, name="test", token="wrong")  # noqa: S106


async def test_a_server_that_resets_the_connection_may_want_a_token() -> None:
    """A refusal whose words are lost: the server closes while something that we sent is still unread."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"auth_required":true}\r\n')
        await writer.drain()
        await reader.readline()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match=r"ended the connection.* set TESSERA_NATS_TOKEN"):
            await connect(f"nats://127.0.0.1:{port}", name="test", token="wrong")  # noqa: S106


async def test_a_first_connection_ends_where_the_library_loses_the_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stubborn(_: wire.Connection, servers: list[str], *, error_cb: Callable[..., Any], **__: Any) -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
            await error_cb(OSError(f"{servers} refused"))

    monkeypatch.setattr(wire.Connection, "connect", stubborn)
    with pytest.raises(Unavailable, match="refused"):
        async with asyncio.timeout(30):
            await connect("nats://127.0.0.1:1", name="test", first_seconds=0.2)


async def test_health_says_not_serving_while_nats_is_away(tmp_path: Path, nats_server: NatsProcess) -> None:
    async with bed(tmp_path, nats_server.url) as made:
        service = await made.start()
        assert await rpc.is_serving(service.address)
        nats_server.kill()
        await eventually(lambda: _serving(service.address, False))
        nats_server.start()
        await eventually(lambda: _serving(service.address, True))


@pytest.mark.parametrize(
    "run_id", ["r" * 5000, "a b", "=2E", "-x", "run.*"], ids=["long", "space", "spelled", "-", "*"]
)
async def test_a_job_with_an_impossible_run_id_is_kept_aside_and_the_worker_goes_on(
    tmp_path: Path, nats_url: str, run_id: str
) -> None:
    async with bed(tmp_path, nats_url) as made:
        service = await made.start()
        forged = JobEnvelope(job_key=envelope(request(1)).job_key, method="Score", run_id=run_id)
        forged.request = request(1).SerializeToString()
        await made.messaging.publish(topology.job_subject("score"), forged.SerializeToString())
        await made.submit(request(2))
        await made.ends(1)
        await made.idle()
        (letter,) = await DeadLetters(made.messaging).list()
        assert (letter.failure.reason, letter.failure.envelope.run_id) == ("bad_input", run_id)
        assert "run_id" in letter.failure.message
        assert len(letter.failure.message) < 300
        assert "connection" not in service.log  # it was never ended
        assert made.runs(1) == 0


async def test_a_line_that_ends_the_connection_costs_only_itself(tmp_path: Path, nats_server: NatsProcess) -> None:
    """Sent past our own check, as a server with a lower limit would see it."""
    connection = await connect(nats_server.url, name="long lines")
    try:
        await connection._client._send_command(b"PUB " + b"x" * 5000 + b" 0\r\n\r\n")
        await connection._client._flush_pending()
        await eventually(lambda: connection._client.stats["reconnects"] == 1)
        await connection.check()
        assert connection.ended is None
    finally:
        await connection.close()


async def test_a_service_whose_connection_ends_for_good_leaves_with_an_error(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        service = await made.start(TOY_END_CONNECTION="1")
        assert await asyncio.to_thread(service.wait, 15) == 3
        assert "the connection to NATS has ended for good" in service.log
        assert len(service.log.splitlines()) < 60, service.log


async def _serving(address: str, wanted: bool) -> bool:
    return await rpc.is_serving(address, timeout=1) is wanted
