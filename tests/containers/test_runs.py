"""Whole runs against a deployment: what is chosen is what ``tessera run`` chooses, whatever is killed or stopped."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from containers.cluster import Cluster
from containers.engine import SERVICES
from tessera.pb.runs_pb2 import RunEvent
from tessera.runtime import messaging, rpc
from tessera.runtime.events import EventLog
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(900),
    # docker-py and testcontainers leave their connections to the engine to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def _events(cluster: Cluster, run: str, monkeypatch: pytest.MonkeyPatch) -> list[RunEvent]:
    for name, value in cluster.environment().items():
        if name.startswith("TESSERA_"):
            monkeypatch.setenv(name, value)

    async def read() -> list[RunEvent]:
        settings = load()
        connection = await messaging.connect(settings.nats_url, name="test")
        try:
            log = EventLog(connection, open_store(settings.store, settings), settings.message_bytes)
            return [event for _, event in await log.read(run)]
        finally:
            await connection.close()

    return asyncio.run(read())


def test_a_run_over_grpc_selects_what_tessera_run_selects(
    cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path
) -> None:
    for service in SERVICES:
        names = asyncio.run(rpc.reflected(cluster.members[service][0].address, timeout=30))
        wanted = "RunsService" if service == "coordinator" else f"{service.capitalize()}Service"
        assert f"tessera.v1.{wanted}" in names
    run = cluster.submit(recipe)
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)
    for service in SERVICES:
        assert cluster.members[service][0].terminate() == 0, cluster.logs([service])
        assert '"left"' in cluster.members[service][0].log()


def test_a_scorer_killed_in_the_middle_of_a_job_costs_an_attempt(
    cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cluster.submit(recipe)
    cluster.reaches(run, lambda view: view.step == "score" and view.jobs_done < view.jobs_total, "a job of the scorer")
    # A first job imports torch: it has begun by now, and takes longer than this.
    time.sleep(0.5)
    cluster.members["scorer"][0].kill()
    cluster.add("scorer")
    assert cluster.finish(run, tmp_path / "out") == expected
    attempts = [
        event.job_done.record.attempt for event in _events(cluster, run, monkeypatch) if event.HasField("job_done")
    ]
    assert max(attempts) > 1, attempts
    cluster.audit(run)


def test_nats_killed_and_restarted_loses_nothing(
    cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path
) -> None:
    run = cluster.submit(recipe)
    cluster.reaches(run, lambda view: view.round >= 1, "the first round")
    cluster.deployment.nats.restart()
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)


def test_s3_that_answers_nobody_for_half_a_minute_costs_time_alone(
    cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path
) -> None:
    run = cluster.submit(recipe)
    cluster.reaches(run, lambda view: view.round >= 1, "the first round")
    cluster.deployment.s3.pause()
    time.sleep(30)
    cluster.deployment.s3.unpause()
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)


def test_a_second_coordinator_takes_over(cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path) -> None:
    run = cluster.submit(recipe)
    cluster.add("coordinator")
    cluster.reaches(run, lambda view: view.round >= 1, "the first round")
    cluster.members["coordinator"][0].kill()
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)
