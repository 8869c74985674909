"""Workers that are stopped, starved, or whose clock jumps, while jobs run: every job ends once, with one result."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from servers import NatsProcess
from tessera.pb.scorer_pb2 import ScoreResponse
from tessera.runtime.dead_letters import DeadLetters
from toy.harness import Bed, ToyService, bed, eventually, request

pytestmark = pytest.mark.faults
_FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/faketime/libfaketime.so.1"),
)


async def audit(made: Bed, keys: list[str], seconds: float = 60) -> None:
    """Check that every job has one readable result, that it was published, and that nothing is left over."""
    events = await made.ends(len(keys), seconds=seconds)
    await made.idle(20)
    assert [event.job_failed.failure for event in events if event.HasField("job_failed")] == []
    told = {event.job_done.record.job_key: event.job_done.record for event in events}
    assert sorted(told) == sorted(keys)
    for key, record in told.items():
        assert await made.record(key) == record
        assert (await made.store.get(ScoreResponse.FromString(record.response).scores)).startswith(b"toy ")
    assert all(event.job_done.record == told[event.job_done.record.job_key] for event in events)
    assert await DeadLetters(made.messaging).list() == []


def _everyone(service: ToyService) -> list[psutil.Process]:
    assert service.process is not None
    parent = psutil.Process(service.process.pid)
    return [parent, *parent.children(recursive=True)]


@pytest.mark.full
async def test_a_worker_stopped_for_longer_than_the_ack_wait_changes_no_result(tmp_path: Path, nats_url: str) -> None:
    """Its jobs run a second time elsewhere; then it goes on, commits late, and acknowledges deliveries it has lost."""
    async with bed(tmp_path, nats_url, ack_wait=1.0, heartbeat=0.3, max_attempts=5) as made:
        services = [await made.start(), await made.start()]
        keys = await made.submit(*(request(seed, "sleep:0.1", "noise") for seed in range(60)))
        for service in services:
            await asyncio.sleep(0.5)
            stopped = _everyone(service)
            for process in stopped:
                process.suspend()
            await asyncio.sleep(3.0)
            for process in reversed(stopped):
                process.resume()
        await audit(made, keys)
        assert all(service.process is not None and service.process.poll() is None for service in services)


@pytest.mark.full
async def test_heartbeats_are_on_time_while_every_core_is_taken(tmp_path: Path, nats_url: str) -> None:
    """Jobs three times as long as the ack wait, on all cores, beside other processes that compute."""
    cores = os.cpu_count() or 1
    burners = [await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(cores)]
    try:
        async with bed(
            tmp_path, nats_url, ack_wait=3.0, heartbeat=1.0, children=cores, cores=cores, child_nice=0
        ) as made:
            await made.start()
            keys = await made.submit(*(request(seed, "spin:9") for seed in range(2 * cores)))
            await audit(made, keys, seconds=120)
            # One run each, and the first delivery of each was the one that ended it.
            assert [made.runs(seed) for seed in range(2 * cores)] == [1] * (2 * cores)
            events = await made.ends(len(keys))
            assert {event.job_done.record.attempt for event in events} == {1}
    finally:
        for burner in burners:
            burner.kill()
            await burner.wait()


@pytest.fixture
def faketime(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of a process whose clock follows a file: write ``+3600s`` into it, and it jumps."""
    library = next((path for path in _FAKETIME if path.exists()), None)
    if library is None:
        pytest.skip("libfaketime is not installed (apt-get install faketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0s")
    return (
        {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            # A clock that is set does not move the monotonic one.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
        clock,
    )


def _clock(environment: dict[str, str]) -> float:
    """Return the time that a process with this environment reads."""
    tell = [sys.executable, "-c", "import time; print(time.time())"]
    told = subprocess.run(tell, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return float(told.stdout)


@pytest.mark.full
async def test_a_worker_whose_clock_jumps_by_an_hour_loses_nothing(
    tmp_path: Path, nats_url: str, faketime: tuple[dict[str, str], Path]
) -> None:
    """Neither heartbeats nor deadlines follow the wall clock."""
    environment, clock = faketime
    assert _clock(environment) - time.time() < 60
    clock.write_text("+3600s")
    assert _clock(environment) - time.time() > 3000, "the library does not fake this interpreter's clock"
    clock.write_text("+0s")
    async with bed(tmp_path, nats_url, ack_wait=2.0, heartbeat=0.5) as made:
        await made.start(**environment)
        # Not time.sleep, which fails under this library: it also moves the deadline of an absolute sleep.
        keys = await made.submit(*(request(seed, "spin:0.1") for seed in range(60)))
        for jump in ("+3600s", "-3600s", "+0s"):
            await asyncio.sleep(1.5)
            clock.write_text(jump)
        await audit(made, keys)
        assert Counter(made.runs(seed) for seed in range(60)) == {1: 60}


@pytest.mark.full
async def test_random_faults_together_change_no_result(tmp_path: Path, nats_server: NatsProcess) -> None:
    """Workers killed and stopped and the server killed, in an order that the seed gives."""
    rng = random.Random(20)
    async with bed(tmp_path, nats_server.url, ack_wait=1.5, heartbeat=0.4, max_attempts=8) as made:
        services = [await made.start() for _ in range(3)]
        keys = await made.submit(*(request(seed, "sleep:0.1", "noise") for seed in range(150)))
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
        await audit(made, keys, seconds=120)
        await eventually(lambda: all(one.process is not None and one.process.poll() is None for one in services))
