"""The health check of a container, against a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from servers import free_port
from tessera.runtime.rpc import Server
from tessera.runtime.settings import load


async def _probe(*arguments: str, **env: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tessera.runtime.probe",
        *arguments,
        env={**os.environ, **env},
        stderr=subprocess.PIPE,
    )
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode


async def test_the_probe_says_what_the_server_reports() -> None:
    server = Server((), load(grpc_port=free_port(), grpc_host="127.0.0.1"))
    address = await server.start()
    port = address.rpartition(":")[2]
    try:
        assert await _probe(address) == 0
        assert await _probe(TESSERA_GRPC_HOST="0.0.0.0", TESSERA_GRPC_PORT=port) == 0  # noqa: S104
        await server.report(serving=False)
        assert await _probe(address) == 1
    finally:
        await server.stop(0)
    assert await _probe(address) == 1


async def test_without_a_port_the_probe_names_the_setting() -> None:
    assert await _probe(TESSERA_GRPC_PORT="0") == 2
