"""Workers that are stopped, starved or killed while jobs run: every job ends once, with one result."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import psutil
import pytest

from servers import NatsProcess
from toy.harness import ToyService, bed, eventually, request

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def _everyone(service: ToyService) -> list[psutil.Process]:
    assert service.process is not None
    parent = psutil.Process(service.process.pid)
    return [parent, *parent.children(recursive=True)]


@pytest.mark.full
async def test_a_worker_stopped_for_longer_than_the_ack_wait_changes_no_result(tmp_path: Path, nats_url: str) -> None:
    """Its jobs run a second time elsewhere; then it goes on, commits late, and acknowledges deliveries it has lost."""
    count = 200
    async with bed(tmp_path, nats_url, ack_wait=1.0, heartbeat=0.3, max_attempts=8) as made:
        services = [await made.start(), await made.start()]
        keys = await made.run(*(request(seed, "sleep:0.1", "noise") for seed in range(count)))
        for service in (*services, *services):
            await asyncio.sleep(0.5)
            stopped = _everyone(service)
            for process in stopped:
                process.suspend()
            await asyncio.sleep(3.0)
            for process in reversed(stopped):
                process.resume()
        await made.audited(keys)
        print(f"{sum(made.runs(seed) for seed in range(count)) - count} of {count} jobs ran once more")
        assert all(service.process is not None and service.process.poll() is None for service in services)


@pytest.mark.full
async def test_heartbeats_are_on_time_while_every_core_is_taken(tmp_path: Path, nats_url: str) -> None:
    """Jobs three times as long as the ack wait, two for every core, beside other processes that compute."""
    cores, count = os.cpu_count() or 1, 50
    burners = [await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(cores)]
    try:
        fields = {"children": 2 * cores, "cores": 2 * cores, "child_nice": 0}
        async with bed(tmp_path, nats_url, ack_wait=2.0, heartbeat=0.5, **fields) as made:
            await made.start()
            keys = await made.run(*(request(seed, "spin:6") for seed in range(count)))
            await made.audited(keys)
            # One run each, and the first delivery of each was the one that ended it.
            assert [made.runs(seed) for seed in range(count)] == [1] * count
            ends = [event.job_done.record for event in await made.ends(count) if event.HasField("job_done")]
            assert {record.attempt for record in ends} == {1}
    finally:
        for burner in burners:
            burner.kill()
            await burner.wait()


@pytest.mark.full
async def test_random_faults_together_change_no_result(tmp_path: Path, nats_server: NatsProcess) -> None:
    """Workers killed and stopped and the server killed, in an order that the seed gives."""
    rng = random.Random(20)
    async with bed(tmp_path, nats_server.url, ack_wait=1.5, heartbeat=0.4, max_attempts=8) as made:
        services = [await made.start() for _ in range(3)]
        keys = await made.run(*(request(seed, "sleep:0.1", "noise") for seed in range(150)))
        for _ in range(10):
            await asyncio.sleep(rng.uniform(0.3, 1.2))
            place = rng.randrange(3)
            match rng.choice(("kill", "stop", "server")):
                case "kill":
                    services[place].kill()
                    services[place] = await made.start()
                case "stop":
                    services[place].signal(signal.SIGSTOP)
                    await asyncio.sleep(2.5)
                    services[place].signal(signal.SIGCONT)
                case _:
                    await asyncio.to_thread(nats_server.restart)
        await made.audited(keys)
        await eventually(lambda: all(one.process is not None and one.process.poll() is None for one in services))
