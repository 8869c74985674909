"""A coordinator that is killed while people answer: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from integration.loop import environment
from robot import Robot
from servers import NatsProcess, free_port
from small_round import SmallRound, small_round
from tessera.errors import TesseraError
from tessera.formats import schemas, tables
from tessera.loop import plan
from tessera.loop.reducer import DONE, RunState, fold
from tessera.pb import questions_pb2 as pb
from tessera.pb import runs_pb2 as runs
from tessera.pb.jobs_pb2 import JobRecord
from tessera.pb.scorer_pb2 import AskResponse
from tessera.runtime import rpc
from tessera.runtime.events import EventLog
from tessera.runtime.failpoints import PEOPLE_POINTS
from tessera.runtime.messaging import connect
from tessera.runtime.objects import ObjectStore, open_store
from tessera.runtime.settings import load
from unit.loop.simulator import World, spec_of
from unit.loop.simulator import load as recipe

pytestmark = pytest.mark.faults
WAIT_SECONDS = 120.0


@dataclass
class Workers(World):
    """All services but the coordinator: imagined, except for the questions, which are in the store."""

    small: SmallRound | None = None

    def _ask(self, request: Any) -> AskResponse:
        assert self.small is not None
        self.rows[self.small.questions.sha256] = self.rows[request.selection.sha256]
        return AskResponse(questions=self.small.questions, count=self.small.count)

    def _answer(self, request: Any) -> Any:
        self.rows[request.answers.sha256] = []
        return super()._answer(request)


@dataclass
class Coordinator:
    """A real process, killed and started again on one port."""

    folder: Path
    nats: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, **more: str) -> None:
        settings = {
            "TESSERA_NATS_URL": self.nats,
            "TESSERA_STORE": (self.folder / "store").as_uri(),
            "TESSERA_GRPC_PORT": str(self.port),
            "TESSERA_LOOK_SECONDS": "2",
            "TESSERA_SCRATCH_DIR": str(self.folder / "scratch"),
        }
        with (self.folder / "coordinator.log").open("ab") as log:
            command = [sys.executable, "-m", "tessera.cli.main", "service", "coordinator"]
            self.process = subprocess.Popen(command, env=environment(**settings, **more), stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    async def watch(self) -> None:
        """Start it again whenever it dies, this time for good."""
        while True:
            await asyncio.sleep(0.05)
            if self.process is not None and self.process.poll() is not None:
                assert self.process.returncode == -signal.SIGKILL, (self.folder / "coordinator.log").read_text()[-3000:]
                self.deaths += 1
                self.start()

    async def call(self, method: str, request: Any, response: Any) -> Any:
        """Call it until it answers."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    return await rpc.call(self.address, method, request, response, 5.0)
                except TesseraError as error:
                    if not error.transient:
                        raise
                    await asyncio.sleep(0.1)


async def play(log: EventLog, workers: Workers, run_id: str) -> RunState:
    """Do the jobs of a run, as its workers would, until it has ended; return its state."""
    done: set[str] = set()
    while True:
        state = fold(RunState(), [event for _, event in await log.read(run_id)])
        if state.status == DONE:
            return state
        for step in state.open_steps:
            if step.name == "collect":
                continue
            for key, job in zip(step.job_keys, plan.jobs(state, step), strict=True):
                if key not in done:
                    response = workers.answer(job).SerializeToString(deterministic=True)
                    await log.job_done(run_id, JobRecord(job_key=key, method=job.method, response=response))
                    done.add(key)
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def waiting(folder: Path, server: NatsProcess, **armed: str) -> AsyncIterator[tuple[Any, ...]]:
    """A run that waits for people, and everything it needs."""
    settings = load(nats_url=server.url, store=(folder / "store").as_uri(), fsync=False)
    store = open_store(settings.store, settings)
    small = await small_round(store, 3)
    made = recipe("street_meal", oracle={"name": "human", "undo_seconds": 0, "lease_seconds": 10}, budget__rounds=0)
    spec = spec_of(made, train=3, run_id="people")
    spec.dataset.manifest.CopyFrom(small.manifest)
    coordinator = Coordinator(folder, server.url)
    coordinator.start(**armed)
    messaging = None
    try:
        submitted = runs.SubmitRunRequest(spec=spec)
        await coordinator.call("tessera.v1.RunsService/SubmitRun", submitted, runs.SubmitRunResponse)
        messaging = await connect(server.url, name="workers")
        yield coordinator, EventLog(messaging, store), Workers(small=small), small, store
    finally:
        coordinator.kill()
        if messaging is not None:
            await messaging.close()


async def answers_of(state: RunState, store: ObjectStore) -> tuple[pb.CollectResponse, dict[str, Any]]:
    (response,) = state.steps[0, "collect"].responses(pb.CollectResponse)
    return response, tables.read(schemas.ANSWERS, await store.get(response.answers), "answers")


async def answer_keys(store: ObjectStore) -> list[str]:
    """The keys of all answers."""
    return [key for key in await store.list("answers/") if "/runs/" not in key]


ALWAYS = ("answer_stored", "collected")


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=() if point in ALWAYS else pytest.mark.full) for point in PEOPLE_POINTS]
)
async def test_a_kill_in_mid_answer_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, nats_server: NatsProcess, point: str
) -> None:
    """Killed just after the named step of its work, with two annotators at it; both send again what got no answer."""
    async with waiting(tmp_path, nats_server, TESSERA_FAILPOINT=point) as (coordinator, log, workers, small, store):
        over = asyncio.Event()
        robots = [
            Robot(lambda: coordinator.address, "people", small.truth, name=name, count=2) for name in ("ann", "bob")
        ]
        tasks = [asyncio.create_task(one.work(over.is_set)) for one in robots]
        tasks.append(asyncio.create_task(coordinator.watch()))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                state = await play(log, workers, "people")
        finally:
            over.set()
            tasks[-1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert coordinator.deaths == 1
        response, said = await answers_of(state, store)
        assert (response.answered, response.left, response.reason) == (small.count, 0, "settled")
        # Each question once, and each answer that was acknowledged.
        assert said["rank"].tolist() == list(range(small.count))
        acknowledged = {one for robot in robots for ids in robot.told.values() for one in ids}
        assert acknowledged == set(said["answer_id"].tolist())
        assert not robots[0].told.keys() & robots[1].told.keys()


async def test_a_run_waits_through_restarts_and_shows_that_it_waits(tmp_path: Path, nats_server: NatsProcess) -> None:
    """Leases and answers are as before the restart; status says what the run waits for."""
    async with waiting(tmp_path, nats_server) as (coordinator, log, workers, small, store):
        playing = asyncio.create_task(play(log, workers, "people"))
        ann = Robot(lambda: coordinator.address, "people", small.truth, name="ann", count=3)
        next_ = pb.NextQuestionsRequest(run_id="people", annotator="ann", count=3)

        async def lent(robot: Robot, request: pb.NextQuestionsRequest) -> pb.NextQuestionsResponse:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    found = await robot.patiently("NextQuestions", request, pb.NextQuestionsResponse)
                    if found.leases:
                        return found
                    await asyncio.sleep(0.1)

        before = await lent(ann, next_)
        await ann.give(before.leases[0].question, before.round)
        coordinator.kill()
        coordinator.start()
        after = await lent(ann, next_)
        kept = [one.question.rank for one in before.leases[1:]]
        assert [one.question.rank for one in after.leases][:2] == kept
        bob = Robot(lambda: coordinator.address, "people", small.truth, name="bob", count=2)
        other = await lent(bob, pb.NextQuestionsRequest(run_id="people", annotator="bob", count=2))
        held = {one.question.rank for one in after.leases}
        assert not held & {one.question.rank for one in other.leases}
        asked, view = runs.GetRunRequest(run_id="people"), runs.RunView()
        async with asyncio.timeout(WAIT_SECONDS):
            # The desk says it when it looks, a moment after the start.
            while view.waiting != "waiting for people: 1 of 12 questions settled":
                view = (await coordinator.call("tessera.v1.RunsService/GetRun", asked, runs.GetRunResponse)).run
                await asyncio.sleep(0.05)
        assert view.step == "collect"
        assert view.status == runs.RUN_STATUS_RUNNING
        over: Callable[[], bool] = playing.done
        await asyncio.gather(ann.work(over), bob.work(over))
        response, said = await answers_of(await playing, store)
        assert response.answered == small.count
        assert said["rank"].tolist() == list(range(small.count))
        view = (await coordinator.call("tessera.v1.RunsService/GetRun", asked, runs.GetRunResponse)).run
        assert view.waiting == ""
        stored = [json.loads((tmp_path / "store" / key).read_bytes()) for key in await answer_keys(store)]
        assert {one["image_id"] for one in stored} == set(small.truth)
