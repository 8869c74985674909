"""A run whose queue was purged: its jobs have neither result, failure nor message, and are queued again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from integration.loop import environment, start, summary, tessera, until, write_recipe
from servers import NatsProcess, free_port
from tessera.runtime import topology
from tessera.runtime.messaging import connect

pytestmark = [pytest.mark.faults, pytest.mark.full]


async def _waiting(url: str) -> int:
    connection = await connect(url, name="look")
    try:
        return int((await connection._js.stream_info(topology.JOBS)).state.messages)
    except Exception:
        return 0
    finally:
        await connection.close()


async def _purge(url: str) -> None:
    connection = await connect(url, name="purge")
    await connection._js.purge_stream(topology.JOBS)
    await connection.close()


@pytest.mark.parametrize("restarted", [False, True], ids=["alive", "restarted"])
def test_a_purged_queue_heals(tmp_path: Path, nats_server: NatsProcess, restarted: bool) -> None:
    """Also after a restart of the coordinator, whose jobs are then duplicates of the purged ones."""
    common = {
        "TESSERA_NATS_URL": nats_server.url,
        "TESSERA_STORE": (tmp_path / "store").as_uri(),
        "TESSERA_LOOK_SECONDS": "2",
        "TESSERA_FSYNC": "false",
    }
    recipe = write_recipe(tmp_path / "recipe")
    port = free_port()
    common["TESSERA_COORDINATOR"] = f"127.0.0.1:{port}"
    processes = []

    def coordinator() -> None:
        processes.append(start("service", "coordinator", log=tmp_path / "log", TESSERA_GRPC_PORT=str(port), **common))

    try:
        coordinator()
        until(lambda: tessera("status", **common).returncode == 0, 60, "the coordinator")
        sent = tessera("submit", recipe, "--seed", 5, **common)
        assert sent.returncode == 0, sent.stderr
        run = sent.stdout.strip()
        until(lambda: asyncio.run(_waiting(nats_server.url)) > 0, 60, "a queued job")
        if restarted:
            processes[0].send_signal(signal.SIGTERM)
            assert processes[0].wait(20) == 0
        asyncio.run(_purge(nats_server.url))
        if restarted:
            coordinator()
        with (tmp_path / "log").open("ab") as log:
            every = "'partitioner', 'scorer', 'embedder', 'selector', 'oracle', 'trainer', 'evaluator'"
            serve = [sys.executable, "-c", f"from tessera.runtime.service import main; main({every})"]
            processes.append(subprocess.Popen(serve, env=environment(**common), stdout=log, stderr=log))
        until(lambda: tessera("status", run, **common).returncode == 0, 60, "the coordinator")
        done = tessera("watch", run, "--out", tmp_path / "out", **common)
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()[-3000:]
        assert len(summary(tmp_path / "out")["rounds"]) == 3
        assert "a job was lost and is queued again" in (tmp_path / "log").read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
