"""Whole runs against a deployment: what is chosen is what ``tessera run`` chooses, whatever is killed or stopped."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

import third_party
from containers import old
from containers.cluster import Cluster
from containers.engine import SERVICES
from integration.loop import selections, tessera, write_recipe
from tessera.pb.runs_pb2 import RunEvent, RunStatus, RunView
from tessera.runtime import messaging, rpc, topology
from tessera.runtime.events import EventLog
from tessera.runtime.objects import open_store
from tessera.runtime.settings import Settings, load
from tessera.runtime.streams import QueueState

T = TypeVar("T")

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(2400),
    # docker-py and testcontainers leave their connections to the engine to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


_Ask = Callable[[messaging.Messaging, Settings], Awaitable[T]]


def _asked(cluster: Cluster, ask: _Ask[T], monkeypatch: pytest.MonkeyPatch) -> T:
    """Return what this says of the deployment's NATS, with the settings of a client."""
    for name, value in cluster.environment().items():
        if name.startswith("TESSERA_"):
            monkeypatch.setenv(name, value)

    async def connected() -> T:
        settings = load()
        connection = await messaging.connect(settings.nats_url, name="test")
        try:
            return await ask(connection, settings)
        finally:
            await connection.close()

    return asyncio.run(connected())


def _events(cluster: Cluster, run: str, monkeypatch: pytest.MonkeyPatch) -> list[RunEvent]:
    async def read(connection: messaging.Messaging, settings: Settings) -> list[RunEvent]:
        log = EventLog(connection, open_store(settings.store, settings), settings.message_bytes)
        return [event for _, event in await log.read(run)]

    return _asked(cluster, read, monkeypatch)


def _submit_and_hold(cluster: Cluster, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """Submit a run and pause the only scorer while it holds a job of it that is not done; return the run and its seed.

    A run has few jobs, and an engine may be slow to pause: where they were done before, another run is submitted.
    """
    for seed in range(5, 10):
        run = cluster.submit(recipe, seed)
        if _hold_a_job(cluster, run, monkeypatch):
            return run, seed
    raise AssertionError("the scorer of five runs was never paused in time")


def _hold_a_job(cluster: Cluster, run: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Pause the only scorer at a moment at which it holds a job that is not done; False: the run ended before."""

    async def queue(connection: messaging.Messaging, settings: Settings) -> QueueState | None:
        return await connection.queue(topology.JOBS, topology.consumer_name("score"))

    def scores_or_is_done(view: RunView) -> bool:
        done = view.status == RunStatus.RUN_STATUS_DONE
        return done or (view.step == "score" and view.jobs_done < view.jobs_total)

    scorer = cluster.members["scorer"][0]
    while cluster.reaches(run, scores_or_is_done, "a job of scoring").status == RunStatus.RUN_STATUS_RUNNING:
        scorer.pause()
        # What was on its way when it stopped arrives: then as many jobs are undone as the queue has, and some are held.
        time.sleep(1)
        view, seen = cluster.view(run), _asked(cluster, queue, monkeypatch)
        assert seen is not None
        undone = view.jobs_total - view.jobs_done if view.step == "score" else 0
        if seen.taken and undone >= seen.waiting + seen.taken:
            return True
        scorer.unpause()
        time.sleep(0.2)
    return False


def test_a_run_over_grpc_selects_what_tessera_run_selects(
    cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in SERVICES:
        names = asyncio.run(rpc.reflected(cluster.members[service][0].address, timeout=120))
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
    cluster: Cluster,
    recipe: Path,
    expected_of: Callable[[int], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, seed = _submit_and_hold(cluster, recipe, monkeypatch)
    cluster.members["scorer"][0].kill()
    cluster.add("scorer")
    assert cluster.finish(run, tmp_path / "out") == expected_of(seed)
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
    cluster: Cluster,
    recipe: Path,
    expected_of: Callable[[int], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The run waits for its scorer until the store has stopped: however slow the engine is, it cannot end before.
    run, seed = _submit_and_hold(cluster, recipe, monkeypatch)
    cluster.deployment.s3.pause()
    cluster.members["scorer"][0].unpause()
    time.sleep(30)
    cluster.deployment.s3.unpause()
    assert cluster.finish(run, tmp_path / "out") == expected_of(seed)
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
    """R23: each of these services has an old and a new worker, and no job minds which takes it."""
    cluster.add("scorer", "selector", "evaluator", old=True)
    run = cluster.submit(recipe)
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)


def test_a_rolling_upgrade_under_load_loses_nothing_and_repeats_nothing(
    empty: Cluster, recipe: Path, expected: list[str], tmp_path: Path
) -> None:
    """R23: every process of the old version is replaced by a new one while a run needs it, the coordinator first.

    The earlier version is `old.COMMIT`: its own images where `.ci/images` could make them, else its code on the
    libraries of today's images, whose versions are those of its locks (the header says which).
    """
    cluster = empty
    cluster.add(*SERVICES, old=True)
    runs = [cluster.submit(recipe)]
    cluster.reaches(runs[0], lambda view: view.step == "score" or view.round >= 1, "the first scores")
    for service in SERVICES:
        if cluster.view(runs[-1]).status != RunStatus.RUN_STATUS_RUNNING:
            runs.append(cluster.submit(recipe, seed=5 + len(runs)))
        cluster.add(service)
        assert cluster.members[service].pop(0).terminate() == 0, service
    for run in runs:
        chosen = cluster.finish(run, tmp_path / run)
        # Neither a region labelled twice, nor a job with two results, nor an object that is missing.
        cluster.audit(run)
        if run == runs[0] and old.same_algorithms(tmp_path):
            assert chosen == expected


def test_a_selector_by_somebody_else_chooses_what_ours_chooses(empty: Cluster, tmp_path: Path) -> None:
    choice = {"initial": [{"name": "random", "count": 8}], "stages": [{"name": "top", "by": "entropy_mean"}]}
    recipe = write_recipe(tmp_path / "choice", selection=choice)
    ours = tmp_path / "ours"
    done = tessera("run", recipe, "--out", ours, "--seed", 5, timeout=1200)
    assert done.returncode == 0, done.stderr
    versions = {"TESSERA_ALGORITHMS": json.dumps({"Select": third_party.VERSION})}
    cluster = empty
    cluster.add(*(service for service in SERVICES if service != "selector"), **versions)
    cluster.adopt("selector", cluster.deployment.start_example(third_party.build(tmp_path), versions))
    run = cluster.submit(recipe)
    assert cluster.finish(run, tmp_path / "theirs") == selections(ours)
    cluster.audit(run)
