"""gc on real servers and on graphs: objects that a run reaches stay, all others are removed after the grace time."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_round import small_round
from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.pb import common_pb2 as common
from tessera.pb import questions_pb2 as pb_questions
from tessera.pb import runs_pb2 as pb
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from tessera.pb.oracle_pb2 import AnswerResponse
from tessera.pb.partitioner_pb2 import PartitionResponse
from tessera.runtime import archives, catalogue, gc, messaging, objects, settings, topology
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.people.desk import Desk
from tessera.runtime.people.questions import QuestionCalls
from tessera.runtime.records import Records
from unit.loop.simulator import load, spec_of

ROOT = Path(__file__).parents[2]
PARQUET = "application/vnd.apache.parquet"


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Deployment:
    """A store and a NATS with one run that needs objects in every way, and objects that nothing needs."""

    def __init__(self, connection: Messaging, store: ObjectStore) -> None:
        self.connection, self.store = connection, store
        self.log, self.records = EventLog(connection, store), Records(connection, store)
        self.needed: list[common.ObjectRef] = []
        self.orphans: list[common.ObjectRef] = []

    async def blob(self, text: str, media_type: str = "image/png", *, needed: bool = True) -> common.ObjectRef:
        data = text.encode() if media_type != "image/png" else b"\x89PNG" + text.encode()
        ref = await self.store.put_content(data, media_type)
        (self.needed if needed else self.orphans).append(ref)
        return ref

    async def table(self, schema: Any, rows: dict[str, list[Any]]) -> common.ObjectRef:
        ref = await self.store.put_content(tables.write(schema, rows), PARQUET)
        self.needed.append(ref)
        return ref

    async def result(self, method: str, response: Any, *, job: str = "") -> JobRecord:
        record = JobRecord(
            job_key=key(job or method), method=method, algorithm="1", response=response.SerializeToString()
        )
        return await self.records.commit(record)

    async def run(self, run_id: str = "run-1") -> list[JobRecord]:
        """Write a run's log: its objects lie one, two and three names away from it."""
        spec = spec_of(load("street_random"), run_id=run_id)
        image = await self.store.put("datasets/d/images/train/a.png", b"\x89PNG a", "image/png")
        manifest = {"images": [{"sha256": image.sha256}], "palette": (await self.blob("palette")).sha256}
        spec.dataset.manifest.CopyFrom(
            await self.store.put("datasets/d/manifest.json", json.dumps(manifest).encode(), "application/json")
        )
        self.needed += [image, spec.dataset.manifest]
        spec.pretrained.CopyFrom(await self.blob("weights", "application/octet-stream"))
        maps = [await self.blob(f"map {index}") for index in range(3)]
        table = await self.table(
            schemas.MAPS,
            {
                "image_id": [f"i{index}" for index in range(3)],
                **{name: [getattr(one, name) for one in maps] for name in ("bucket", "key", "sha256", "size")},
                "media_type": ["image/png"] * 3,
                "height": [1] * 3,
                "width": [1] * 3,
            },
        )
        shard = common.RegionShard(regions=await self.blob("regions", "text/plain"), maps=table, region_count=3)
        answers = AnswerResponse(ledger=await self.blob(json.dumps([(await self.blob("crop")).sha256]), "text/plain"))
        made = [
            await self.result("Partition", PartitionResponse(shard=shard)),
            await self.result("Answer", answers),
        ]
        last = await self.log.append(run_id, pb.RunEvent(submitted=pb.RunSubmitted(spec=spec)), 0)
        keys = [one.job_key for one in made] + [key(f"later {index}") for index in range(2000)]
        last = await self.log.append(
            run_id, pb.RunEvent(step_started=pb.StepStarted(step="partition", job_keys=keys)), last
        )
        for one in made:
            await self.log.job_done(run_id, one)
        self.last = last
        return made

    async def rubbish(self) -> JobRecord:
        """Write unneeded objects: blobs, and a job's record with its result, from the first name to the last."""
        await self.blob("nobody's", needed=False)
        maps = await self.blob(
            json.dumps({"sha256": (await self.blob("nobody's map", needed=False)).sha256}), "text/plain", needed=False
        )
        response = PartitionResponse(shard=common.RegionShard(maps=maps))
        return await self.result("Partition", response, job="nobody's job")

    async def intact(self) -> None:
        for ref in self.needed:
            await self.store.get(ref)

    async def keys(self) -> set[str]:
        return set(await self.store.list(""))


@pytest.fixture(params=["file", "s3"])
async def deployment(request: pytest.FixtureRequest, nats_url: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    url = (tmp_path / "store").as_uri() if request.param == "file" else request.getfixturevalue("s3_url")
    chosen = settings.load(nats_url=nats_url, store=url, fsync=False, cache_dir=tmp_path / "cache")
    connection = await messaging.connect(nats_url, name="gc")
    await topology.ensure(connection, chosen, ["partition"])
    yield Deployment(connection, objects.open_store(url, chosen))
    await connection.close()


async def test_what_a_run_needs_stays_and_everything_else_goes(deployment: Deployment) -> None:
    made = await deployment.run()
    orphan = await deployment.rubbish()
    await asyncio.sleep(1.1)  # S3 tells times in whole seconds
    before = await deployment.keys()
    found = await gc.Collector(deployment.connection, deployment.store, 0).look()
    lost = {ref.key for ref in deployment.orphans}
    # The copy of the orphan's record under its content goes with it.
    assert {one.key for one in found.objects} >= lost
    assert len(found.objects) == len(lost) + 1
    assert [one.key for one in found.records] == [f"jobs/Partition/{orphan.job_key}.json"]
    assert len(found.entries) == 1
    assert found.bytes >= sum(ref.size for ref in deployment.orphans)
    # Looking removes nothing, but leaves its probe.
    assert await deployment.keys() - {"check/gc"} == before
    await deployment.intact()

    removed = await gc.Collector(deployment.connection, deployment.store, 0).sweep(1.1)
    assert (len(removed.objects), removed.bytes) == (len(found.objects), found.bytes)
    gone = before - await deployment.keys()
    assert gone == {one.key for one in (*found.objects, *found.records)}
    await deployment.intact()
    for one in made:
        assert await deployment.records.find("Partition" if one is made[0] else "Answer", one.job_key) == one
    assert await deployment.records.find("Partition", orphan.job_key) is None
    # The job can be done again, and its result is a result again.
    assert await deployment.rubbish() == orphan
    assert len(await deployment.log.read("run-1")) == 4
    again = await gc.Collector(deployment.connection, deployment.store, 3600).sweep(0)
    # Young objects stay.
    assert (again.objects, again.records, again.entries) == ([], [], [])


async def test_archived_runs_waiting_and_failed_jobs_need_theirs(deployment: Deployment) -> None:
    await deployment.run()
    last = await deployment.log.append("run-1", pb.RunEvent(failed=pb.RunFailed(message="no")), deployment.last)
    await deployment.log.archive("run-1", pb.RunView(status=pb.RUN_STATUS_FAILED), last)
    waiting, failed = await deployment.blob("waiting", "text/plain"), await deployment.blob("failed", "text/plain")
    await deployment.log.dispatch(
        JobEnvelope(job_key=key("w"), method="Partition", run_id="run-2", request_ref=waiting)
    )
    failure = JobFailure(job_key=key("f"), method="Partition")
    failure.envelope.request_ref.CopyFrom(failed)
    await DeadLetters(deployment.connection).add("partition", failure, 1)
    await deployment.rubbish()
    await asyncio.sleep(1.1)
    events = await deployment.log.read("run-1")
    removed = await gc.Collector(deployment.connection, deployment.store, 0).sweep(1.1)
    assert len(removed.objects) == len(deployment.orphans) + 1
    await deployment.intact()
    assert await deployment.log.read("run-1") == events


async def test_a_record_that_a_run_takes_up_meanwhile_keeps_its_objects(deployment: Deployment) -> None:
    await deployment.run()
    orphan = await deployment.rubbish()
    await asyncio.sleep(1.1)
    collector = gc.Collector(deployment.connection, deployment.store, 0)
    sweeping = asyncio.create_task(collector.sweep(3.0))
    path = f"jobs/Partition/{orphan.job_key}.json"
    while path in await deployment.keys():
        await asyncio.sleep(0.05)
    # A worker had found the record the moment before, and tells its run only now.
    await deployment.log.job_done("run-1", orphan)
    removed = await sweeping
    survivors = {ref.key for ref in deployment.orphans} - {one.key for one in removed.objects}
    assert len(survivors) == 2
    assert len(removed.records) == 1


async def test_nothing_is_removed_beside_the_wrong_nats(deployment: Deployment) -> None:
    await deployment.run()
    await deployment.rubbish()
    before = await deployment.keys()
    for subject in (topology.log_subject("run-1"), topology.result_subject("run-1")):
        await deployment.connection.purge("EVENTS", subject, 1 << 40)
    with pytest.raises(BadInput, match="does not know run-1"):
        await gc.Collector(deployment.connection, deployment.store, 0).sweep(0)
    assert await deployment.keys() - {"check/gc"} == before


GRAPHS = st.integers(1, 14).flatmap(
    lambda size: st.tuples(
        st.lists(st.sets(st.integers(0, size - 1)), min_size=size, max_size=size), st.sets(st.integers(0, size - 1))
    )
)


@given(GRAPHS)
def test_reachable_is_the_least_set_that_holds_the_roots_and_what_its_members_name(
    graph: tuple[list[set[int]], set[int]],
) -> None:
    edges, roots = graph
    expected, grown = set(roots), True
    while grown:
        more = expected | {target for one in expected for target in edges[one]}
        grown, expected = more != expected, more

    async def names(name: str) -> set[str]:
        return {str(target) for target in edges[int(name)]}

    assert asyncio.run(gc.reachable(map(str, roots), names)) == set(map(str, expected))


async def test_checkpoints_stay_until_the_job_has_its_record_or_nobody_names_it(deployment: Deployment) -> None:
    made = await deployment.run()
    jobs = {"under way": key("later 7"), "done": made[0].job_key, "nobody's": key("nobody's")}
    for job in jobs.values():
        for name in ("a", "b", "index.json"):
            await deployment.store.put(f"checkpoints/{job}/{name}", b"state", "")
    await asyncio.sleep(1.1)
    young = await gc.Collector(deployment.connection, deployment.store, 3600).look()
    assert young.objects == []
    await gc.Collector(deployment.connection, deployment.store, 0).sweep(1.1)
    left = await deployment.store.list("checkpoints/")
    assert left == [f"checkpoints/{jobs['under way']}/{name}" for name in ("a", "b", "index.json")]
    await deployment.intact()


def test_deleting_is_for_gc_alone() -> None:
    """Of all modules, only gc calls the store's delete, jobs for their checkpoints, and an import for its own entry,
    when it loses the race for the next version of a data set; services can delete no more."""
    callers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("shared/tessera", "services")
        for path in (ROOT / folder).rglob("*.py")
        if "store.delete(" in path.read_text().lower()
    }
    assert callers == {f"shared/tessera/runtime/{name}.py" for name in ("checkpoints", "gc", "objects", "series")}
    assert "delete" in dict(inspect.getmembers(ObjectStore))


@pytest.mark.parametrize("service", sorted(objects.READABLE_LABELS))
async def test_no_service_deletes(service: str, tmp_path: Path) -> None:
    store = objects.open_store((tmp_path / "s").as_uri(), settings.load(fsync=False))
    ref = await store.put_content(b"kept", "text/plain")
    with pytest.raises(BadInput, match="deletes nothing"):
        await objects.restrict(store, service).delete(ref.key, 1e12)
    assert await store.get(ref) == b"kept"
    # Nor are objects written meanwhile.
    assert not await store.delete(ref.key, 0.0)
    assert await store.delete(ref.key, 1e12)
    assert await store.exists(ref.key) is None


def test_pointer_files_are_found_by_their_run() -> None:
    assert archives.runs_of(["runs/a/archive.json", "runs/b/spec.json", "runs/c/d/archive.json"]) == ["a"]


async def test_a_run_that_is_given_up_leaves_nothing_behind(deployment: Deployment) -> None:
    await deployment.run("kept")
    kept, deployment.needed = deployment.needed, []
    spec = spec_of(load("street_random"), run_id="over")
    last = await deployment.log.append("over", pb.RunEvent(submitted=pb.RunSubmitted(spec=spec)), 0)
    alone = await deployment.result("Answer", AnswerResponse(ledger=await deployment.blob("its own")), job="its own")
    await deployment.log.job_done("over", alone)
    last = await deployment.log.append("over", pb.RunEvent(finished=pb.RunFinished(reason="spent")), last)
    await deployment.log.archive("over", pb.RunView(status=pb.RUN_STATUS_DONE), last)
    (end,) = [place for place, _ in [one async for batch in deployment.log.scan("over", packed=True) for one in batch]]
    await asyncio.sleep(1.1)

    def collector(forget: dict[str, int]) -> gc.Collector:
        return gc.Collector(deployment.connection, deployment.store, 0, forget)

    own = deployment.needed[-1].key
    assert own not in {one.key for one in (await collector({}).look()).objects}
    before = await deployment.keys()
    shown = await collector({"over": end}).look()
    assert own in {one.key for one in shown.objects}
    assert {one.key for one in shown.forgotten} == {"runs/over/archive.json", "runs/over/spec.json"}
    assert await deployment.keys() == before
    # It was resumed since somebody looked.
    with pytest.raises(BadInput, match="goes on meanwhile"):
        await collector({"over": end - 1}).sweep(0)
    assert await deployment.keys() == before

    await collector({"over": end}).sweep(1.1)
    left = await deployment.keys()
    assert own not in left
    assert not [one for one in left if one.startswith("runs/over/")]
    assert await deployment.log.run_ids() == ["kept"]
    assert await deployment.log.read("over") == []
    assert await deployment.log.restore() == []
    for ref in kept:
        await deployment.store.get(ref)
    # The same name can be used again.
    assert await deployment.log.append("over", pb.RunEvent(submitted=pb.RunSubmitted(spec=spec)), 0)


class AnyRun:
    """A desk's runs: all there are, and all go on."""

    def known(self, run_id: str) -> bool:
        return True

    def goes_on(self, run_id: str) -> bool:
        return True

    def show(self, run_id: str, text: str) -> None:
        """Nobody looks."""


async def test_answers_stay_until_every_run_that_asked_is_given_up(deployment: Deployment) -> None:
    store, log = deployment.store, deployment.log
    await deployment.run("kept")
    small = await small_round(store)
    request, ends = small.request(), {}
    round_key = catalogue.job_key("Collect", request)
    desk = Desk(deployment.connection, store, deployment.records, log, AnyRun())
    calls = QuestionCalls(desk)

    async def answer(rank: int, answer_id: str) -> None:
        said = pb_questions.PersonAnswer(answer_id=answer_id, raster={"values": [0], "lengths": [16]})
        wanted = pb_questions.AnswerQuestionRequest(question_id=f"{round_key}.{rank}", annotator="ann", answer=said)
        assert (await calls.answer(wanted)).outcome == pb_questions.ANSWER_OUTCOME_COUNTED

    for run in ("one", "two"):
        spec = spec_of(load("street_random"), run_id=run)
        last = await log.append(run, pb.RunEvent(submitted=pb.RunSubmitted(spec=spec)), 0)
        await desk.open(run, 0, round_key, request)
        ends[run] = await log.append(run, pb.RunEvent(finished=pb.RunFinished(reason="spent")), last)
    await answer(0, "the-first-answer")
    await calls.close(pb_questions.CloseRoundRequest(round_key=round_key))
    # Of an earlier version, which did not note who asked.
    old = f"answers/{key('nobody knows')}/0/old-answer.json"
    await store.put(old, b"{}", "application/json")
    await asyncio.sleep(1.1)

    def collector(*forget: str, grace: float = 0) -> gc.Collector:
        return gc.Collector(deployment.connection, store, grace, {run: ends[run] for run in forget})

    kept = await deployment.keys()
    mine = {one for one in kept if one.startswith(f"answers/{round_key}/")}
    assert {one.rsplit("/", 2)[1] for one in mine} == {"0", "runs"}
    for forget in ((), ("one",), ("two",)):
        assert (await collector(*forget).look()).rounds == []
    assert (await collector("one", "two").look()).rounds == [round_key]
    assert (await collector("one", "two", grace=3600).look()).rounds == []
    # Without those who ask, as after a loss of NATS: the store knows them.
    await deployment.connection.purge(f"KV_{topology.QUESTIONS}", f"$KV.{topology.QUESTIONS}.>", 1 << 40)
    await collector("one").sweep(0)
    assert mine <= await deployment.keys()
    done = await collector("two").sweep(0)
    assert done.rounds == [round_key]
    left = await deployment.keys()
    assert not mine & left
    assert old in left
    assert f"jobs/Collect/{round_key}.json" not in left
    # A coordinator that still remembers the round asks its questions anew.
    small = await small_round(store)
    await desk.open("three", 0, round_key, request)
    found = await calls.next(pb_questions.NextQuestionsRequest(round_key=round_key, annotator="ann", count=1))
    assert [one.question.rank for one in found.leases] == [0]
    assert found.progress.answers == 0
    await answer(0, "another-answer")
