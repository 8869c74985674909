"""A desk with one round against real servers, for tests of the calls about questions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from robot import answer
from small_round import SmallRound, small_round
from tessera.formats import schemas, tables
from tessera.pb import questions_pb2 as pb
from tessera.runtime import catalogue, rpc, topology
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.objects import ObjectStore, open_store
from tessera.runtime.people.desk import Desk
from tessera.runtime.people.questions import QuestionCalls, endpoints
from tessera.runtime.records import Records
from tessera.runtime.settings import load

WAIT_SECONDS = 60.0


@dataclass
class OneRun:
    """The runs that a desk is told of: one, which goes on until it is stopped."""

    stopped: bool = False
    shown: list[str] = field(default_factory=list)

    def known(self, run_id: str) -> bool:
        return run_id == "run"

    def goes_on(self, run_id: str) -> bool:
        return run_id == "run" and not self.stopped

    def show(self, run_id: str, text: str) -> None:
        self.shown.append(text)


@dataclass
class Bench:
    """One coordinator's desk, a round, and the calls about it."""

    desk: Desk
    calls: QuestionCalls
    runs: OneRun
    messaging: Messaging
    store: ObjectStore
    small: SmallRound
    log: EventLog

    async def open(self, request: pb.CollectRequest) -> str:
        key = catalogue.job_key("Collect", request)
        await self.desk.open("run", 0, key, request)
        return key

    async def next(self, who: str, count: int = 1) -> pb.NextQuestionsResponse:
        return await self.calls.next(pb.NextQuestionsRequest(run_id="run", annotator=who, count=count))

    async def give(self, who: str, id_: str, answer_id: str = "", seconds: float = 3.0) -> int:
        """Answer from the truth."""
        found = await self.calls.questions(pb.ListQuestionsRequest(run_id="run"))
        question = next(one.question for one in found.questions if one.question.question_id == id_)
        said = answer(question, await self.round(), self.small.truth[question.image_id], answer_id, seconds)
        return await self.say(who, id_, said)

    async def say(self, who: str, id_: str, said: pb.PersonAnswer) -> int:
        request = pb.AnswerQuestionRequest(question_id=id_, annotator=who, answer=said)
        return int((await self.calls.answer(request)).outcome)

    async def round(self) -> pb.QuestionRound:
        return (await self.calls.list(pb.ListRoundsRequest(run_id="run"))).rounds[0]

    async def progress(self) -> pb.RoundProgress:
        return (await self.calls.progress(pb.GetProgressRequest(run_id="run"))).progress

    async def result(self) -> tuple[pb.CollectResponse, dict[str, list[object]]]:
        """Wait for the end of the round, as the run learns it, and return it with its answers."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (events := await self.log.read("run")):
                await asyncio.sleep(0.05)
        response = pb.CollectResponse.FromString(events[0][1].job_done.record.response)
        return response, tables.read(schemas.ANSWERS, await self.store.get(response.answers), "answers")


@contextlib.asynccontextmanager
async def bench(url: str, folder: Path, *, works: bool = True) -> AsyncIterator[Bench]:
    settings = load(nats_url=url, store=(folder / "store").as_uri(), fsync=False)
    messaging = await connect(url, name="desk")
    try:
        await topology.ensure(messaging, settings, [])
        store, runs = open_store(settings.store, settings), OneRun()
        log = EventLog(messaging, store)
        desk = Desk(messaging, store, Records.of(messaging, store, settings), log, runs)
        task = asyncio.create_task(desk.run(await desk.load()) if works else asyncio.sleep(0))
        try:
            yield Bench(desk, QuestionCalls(desk), runs, messaging, store, await small_round(store), log)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        await messaging.close()


@contextlib.asynccontextmanager
async def serving(made: Bench) -> AsyncIterator[str]:
    """Serve the desk's calls on loopback until the block ends; yields the address."""
    server = rpc.Server(endpoints(made.calls), load())
    address = await server.start()
    try:
        yield address
    finally:
        await server.stop(0.1)
