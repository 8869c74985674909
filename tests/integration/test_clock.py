"""The clock of a worker, or of the coordinator and a worker, jumps by an hour: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from containers.cluster import Cluster
from containers.deployment import Member, Processes
from integration.loop import selections
from tessera.pb.runs_pb2 import RunView
from toy.harness import bed, request

pytestmark = [pytest.mark.faults, pytest.mark.full, pytest.mark.timeout(900)]
_FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/faketime/libfaketime.so.1"),
)
JUMPS = ("+3600s", "-3600s", "+0s")


@pytest.fixture
def faketime(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of a process whose clock follows a file: write ``+3600s`` into it, and it jumps."""
    library = next((path for path in _FAKETIME if path.exists()), None)
    if library is None:
        pytest.skip("libfaketime is not installed (apt-get install faketime)")
    clock = tmp_path / "clock"
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        # Looked at once a second: at every call, a process does little else.
        "FAKETIME_CACHE_DURATION": "1",
        # A clock that is set does not move the monotonic one.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    clock.write_text("+3600s")
    assert _clock(environment) - time.time() > 3000, "the library does not fake this interpreter's clock"
    clock.write_text("+0s")
    return environment, clock


def _clock(environment: dict[str, str]) -> float:
    """Return the time that a process with this environment reads."""
    tell = [sys.executable, "-c", "import time; print(time.time())"]
    told = subprocess.run(tell, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return float(told.stdout)


async def test_a_worker_whose_clock_jumps_by_an_hour_loses_nothing(
    tmp_path: Path, nats_url: str, faketime: tuple[dict[str, str], Path]
) -> None:
    environment, clock = faketime
    async with bed(tmp_path, nats_url, ack_wait=2.0, heartbeat=0.5) as made:
        await made.start(**environment)
        # Not time.sleep, which fails under this library: it also moves the deadline of an absolute sleep.
        count = 200
        keys = await made.run(*(request(seed, "spin:0.05") for seed in range(count)))
        for jump in JUMPS:
            await asyncio.sleep(2.5)
            clock.write_text(jump)
        await made.audited(keys)
        assert Counter(made.runs(seed) for seed in range(count)) == {1: count}


class Jumping(Processes):
    """A deployment in which the clocks of the first coordinator and the first scorer follow a file."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(folder)
        self._odd = {name: environment for name in ("coordinator", "scorer")}

    def start(self, service: str, **settings: str) -> Member:
        return super().start(service, **settings, **self._odd.pop(service, {}))


def test_a_run_goes_on_while_the_clocks_of_the_coordinator_and_a_worker_jump(
    recipe: Path, reference: Path, tmp_path: Path, faketime: tuple[dict[str, str], Path]
) -> None:
    environment, clock = faketime
    folder = tmp_path / "deployment"
    folder.mkdir()
    deployment = Jumping(folder, environment)
    try:
        cluster = Cluster(deployment)
        cluster.add("scorer")
        run = cluster.submit(recipe)
        for jump, round_ in zip(JUMPS, range(len(JUMPS)), strict=True):
            clock.write_text(jump)
            cluster.reaches(run, _past(round_), f"round {round_} scored with the clock at {jump}")
        assert cluster.finish(run, tmp_path / "out") == selections(reference)
        cluster.audit(run)
    finally:
        deployment.close()


def _past(round_: int) -> Callable[[RunView], bool]:
    """Whether a round's query is answered, or the run has gone further."""

    def told(view: RunView) -> bool:
        return len(view.rounds) > round_ and bool(view.rounds[round_].ledger.key)

    return told
