"""Whole runs against a deployment: what is chosen is what ``tessera run`` chooses, whatever is killed or stopped."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

import third_party
from containers.cluster import Cluster
from containers.engine import SERVICES
from integration.loop import selections, tessera, write_recipe
from tessera.pb.runs_pb2 import RunEvent
from tessera.runtime import messaging, rpc
from tessera.runtime.events import EventLog
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(2400),
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
    cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in SERVICES:
        names = asyncio.run(rpc.reflected(cluster.members[service][0].address, timeout=30))
        wanted = "RunsService" if service == "coordinator" else f"{service.capitalize()}Service"
        assert f"tessera.v1.{wanted}" in names
    run = cluster.submit(recipe)
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)
    seconds: dict[str, list[str]] = {}
    for event in _events(cluster, run, monkeypatch):
        if event.HasField("job_done"):
            seconds.setdefault(event.job_done.record.method, []).append(f"{event.job_done.record.job_seconds:.2f}")
    print("seconds of the jobs of fresh workers, in their order:", seconds)
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


def test_workers_of_an_old_version_beside_new_ones_lose_nothing(
    cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path
) -> None:
    """R23: a rolling upgrade in which each service has an old and a new worker, and no job minds which takes it."""
    cluster.add("scorer", "selector", "evaluator", old=True)
    run = cluster.submit(recipe)
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)


def test_a_new_coordinator_goes_on_with_the_run_of_an_old_one(
    empty: Cluster, recipe: Path, expected: list[str], tmp_path: Path
) -> None:
    """R23: the run is submitted to the old version, and its log is read and continued by the new one."""
    cluster = empty
    cluster.add("coordinator", old=True)
    cluster.add(*(service for service in SERVICES if service != "coordinator"))
    run = cluster.submit(recipe)
    cluster.reaches(run, lambda view: view.step == "score" or view.round >= 1, "the first scores")
    cluster.add("coordinator")
    cluster.members["coordinator"][0].kill()
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)


def test_a_selector_by_somebody_else_chooses_what_ours_chooses(empty: Cluster, tmp_path: Path) -> None:
    choice = {"initial": [{"name": "random", "count": 8}], "stages": [{"name": "top", "by": "entropy_mean"}]}
    recipe = write_recipe(tmp_path / "choice", selection=choice)
    ours = tmp_path / "ours"
    done = tessera("run", recipe, "--out", ours, "--seed", 5, timeout=1200)
    assert done.returncode == 0, done.stderr
    versions = {"TESSERA_ALGORITHMS": json.dumps({"Select": third_party.VERSION})}
    cluster = empty
    cluster.add(*(service for service in SERVICES if service != "selector"), **versions)
    cluster.adopt("selector", cluster.deployment.start_example(third_party.build(tmp_path), {}))
    run = cluster.submit(recipe)
    assert cluster.finish(run, tmp_path / "theirs") == selections(ours)
    cluster.audit(run)
