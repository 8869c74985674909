"""The log of a run that has ended moves into the store: listed, viewed, resumed, restored from there."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest

from integration.crowd import VERBS, Coordinator, Crowd
from servers import NatsProcess
from tessera.errors import CorruptObject
from tessera.loop.reducer import RunState, fold
from tessera.pb import runs_pb2 as pb
from tessera.runtime import archives, failpoints, messaging, settings, topology
from tessera.runtime.events import EventLog
from tessera.runtime.objects import open_store
from tessera.runtime.runs_client import RunsClient
from unit.loop.simulator import load, spec_of

RUN = "run-1"


class Site:
    """A NATS server, a store, a crowd of workers, and a coordinator that archives at once."""

    def __init__(self, server: NatsProcess, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.store_url = (folder / "store").as_uri()
        self.settings = settings.load(nats_url=server.url, store=self.store_url, fsync=False)
        self.store = open_store(self.store_url, self.settings)
        self.coordinator: Coordinator | None = None

    @contextlib.asynccontextmanager
    async def open(self):
        self.connection = await messaging.connect(self.server.url, name="site")
        try:
            await topology.ensure(self.connection, self.settings, VERBS)
            self.log = EventLog(self.connection, self.store)
            self.crowd = Crowd(self.connection)
            yield self
        finally:
            if self.coordinator is not None:
                self.coordinator.stop()
            await self.connection.close()

    async def start(self, *, after: float = 0.0, **more: str) -> str:
        """Start a coordinator that archives what ended ``after`` seconds ago."""
        environment = {
            "TESSERA_NATS_URL": self.server.url, "TESSERA_STORE": self.store_url, "TESSERA_FSYNC": "0",
            "TESSERA_ARCHIVE_SECONDS": str(after), **more,
        }  # fmt: skip
        self.coordinator = Coordinator(self.folder, environment)
        return await asyncio.to_thread(self.coordinator.start)

    async def stop(self) -> None:
        await asyncio.to_thread(self.coordinator.stop)

    async def kinds(self) -> Counter[str]:
        """Return the kinds of events that NATS itself still holds of the run."""
        found: Counter[str] = Counter()
        async for events in self.log.scan(RUN, packed=True):
            found.update(str(event.WhichOneof("kind")) for _, event in events)
        return found

    async def idle(self) -> None:
        """Wait until every queued job has told its end."""
        async with asyncio.timeout(60):
            while (await self.connection.rooms(topology.JOBS))[0].used:
                await asyncio.sleep(0.05)

    async def archived(self) -> None:
        async with asyncio.timeout(60):
            while await self.kinds() != {"archived": 1}:
                await asyncio.sleep(0.05)


@pytest.fixture
async def site(nats_server: NatsProcess, tmp_path: Path):
    async with Site(nats_server, tmp_path).open() as made:
        yield made


def spec(rounds: int = 1):
    return spec_of(load("street_entropy", budget__rounds=rounds), train=100, val=32, test=32)


def folded(events: list[tuple[int, pb.RunEvent]]) -> RunState:
    return fold(RunState(), (event for _, event in events))


async def finished(runs: RunsClient) -> pb.RunView:
    async with asyncio.timeout(60):
        async for response in runs.watch(RUN):
            if response.run.status != pb.RUN_STATUS_RUNNING:
                return response.run
    raise AssertionError("the watch ended before the run")


async def test_a_finished_run_leaves_nats_and_is_shown_as_before(site: Site) -> None:
    address = await site.start(after=3600)
    async with site.crowd.working(), RunsClient(address) as runs:
        await runs.submit(spec())
        run = await finished(runs)
        shown, shards = await runs.get(RUN), (await runs.with_shards(run)).shards
        events = await site.log.read(RUN)
    await site.stop()
    assert (await site.kinds())["job_done"] > 10
    for start in range(2):
        address = await site.start()
        await site.archived()
        async with RunsClient(address) as runs:
            assert await runs.get(RUN) == shown == run, start
            assert (await finished(runs)) == run
            assert (await runs.with_shards(run)).shards == shards
            (listed,) = await runs.list()
            assert (listed.spec, listed.status, listed.message) == (run.spec, run.status, run.message)
            # The same run submitted anew is this one; another one of its name is refused as before.
            assert (await runs.submit(spec())).run == run
            assert (await runs.resume(RUN)).status == pb.RUN_STATUS_DONE
        await site.stop()
    # Every event, with its place and its time.
    assert await site.log.read(RUN) == events


@pytest.mark.parametrize(
    "point",
    [
        failpoints.ARCHIVE_POINTS[0],
        *(pytest.param(one, marks=pytest.mark.full) for one in ("", *failpoints.ARCHIVE_POINTS[1:])),
    ],
)
async def test_a_cancelled_run_is_archived_whoever_dies_resumed_and_archived_again(site: Site, point: str) -> None:
    address = await site.start(after=3600)
    async with site.crowd.working():
        async with RunsClient(address) as runs:
            await runs.submit(spec(rounds=2))
            while site.crowd.done["Score"] < 3:
                await asyncio.sleep(0.01)
            await runs.cancel(RUN, "a pause")
        await site.stop()
        await site.idle()
        events = await site.log.read(RUN)
        if point:
            # It dies in the middle of archiving, as soon as it starts: perhaps before it has said that it is ready.
            with contextlib.suppress(AssertionError):
                await site.start(TESSERA_FAILPOINT=point)
            async with asyncio.timeout(60):
                while not site.coordinator.ended():
                    await asyncio.sleep(0.05)
            await site.stop()
            # Half deleted, it reads as the same run.
            assert folded(await site.log.read(RUN)) == folded(events)
        address = await site.start()
        await site.archived()
        assert await site.log.read(RUN) == events
        async with RunsClient(address) as runs:
            cancelled = await runs.get(RUN)
            assert (cancelled.status, cancelled.message) == (pb.RUN_STATUS_CANCELLED, "a pause")
            assert (await runs.resume(RUN)).status == pb.RUN_STATUS_RUNNING
            run = await finished(runs)
            assert (run.status, run.message) == (pb.RUN_STATUS_DONE, "spent")
            assert [one.complete for one in run.rounds] == [True, True, True]
        await site.archived()
        again = await site.log.read(RUN)
        assert [one for one in again if one[0] <= events[-1][0]] == events
        started = Counter((e.step_started.round, e.step_started.step) for _, e in again if e.HasField("step_started"))
        assert set(started.values()) == {1}


async def test_ends_of_jobs_that_come_late_do_not_stay(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await site.start(after=3600)
    async with site.crowd.working(), RunsClient(address) as runs:
        await runs.submit(spec())
        head = await finished(runs)
    await site.stop()
    await site.idle()
    events = await site.log.read(RUN)
    record = next(event.job_done.record for _, event in events if event.HasField("job_done"))
    append = site.log.append

    async def told_meanwhile(*arguments) -> int:
        """Archive while a worker tells the end of a job that was delivered twice."""
        await site.log.job_done(RUN, record, 1_000_001)
        return await append(*arguments)

    monkeypatch.setattr(site.log, "append", told_meanwhile)
    await site.log.archive(RUN, head, max(at for at, event in events if not event.HasField("job_done")))
    assert await site.kinds() == {"archived": 1}
    await site.log.job_done(RUN, record, 1_000_002)
    assert await site.kinds() == {"archived": 1, "job_done": 1}
    # A coordinator deletes what it finds at its start, and what comes while it runs.
    await site.start()
    await site.archived()
    await site.log.job_done(RUN, record, 1_000_003)
    await site.archived()
    assert await site.log.read(RUN) == events


async def test_nothing_is_deleted_once_an_archived_run_goes_on(site: Site) -> None:
    address = await site.start(after=3600)
    async with site.crowd.working():
        async with RunsClient(address) as runs:
            await runs.submit(spec())
            while site.crowd.done["Score"] < 3:
                await asyncio.sleep(0.01)
            await runs.cancel(RUN, "a pause")
        await site.stop()
        await site.idle()
        address = await site.start()
        await site.archived()
        ((archived, _),) = [one async for batch in site.log.scan(RUN, packed=True) for one in batch]
        await site.stop()
        address = await site.start(after=3600)
        async with RunsClient(address) as runs:
            await runs.resume(RUN)
            await finished(runs)
        await site.idle()
        before = await site.kinds()
        # The late order of a coordinator that knows the run as archived.
        await site.log.drop_archived(RUN, archived)
        assert await site.kinds() == before
        assert before["job_done"] > 1


async def test_archived_runs_outlive_nats_and_damage_is_named(site: Site, tmp_path: Path) -> None:
    address = await site.start()
    async with site.crowd.working(), RunsClient(address) as runs:
        await runs.submit(spec())
        await finished(runs)
        await site.archived()
        run = await runs.get(RUN)
    await site.stop()
    with contextlib.ExitStack() as stack:
        fresh = NatsProcess(tmp_path / "another")
        fresh.start()
        stack.callback(fresh.stop)
        site.server = fresh
        address = await site.start()
        async with RunsClient(address) as runs:
            assert await runs.get(RUN) == run
        await site.stop()
        archive = await archives.remembered(site.store, RUN)
        assert archive is not None
        path = tmp_path / "store" / archive.segments[0].key
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        address = await site.start()
        async with RunsClient(address) as runs:
            # The list needs no archive; the run does, and says which object is damaged.
            assert [one.spec.run_id for one in await runs.list()] == [RUN]
            with pytest.raises(CorruptObject, match=archive.segments[0].key):
                await runs.get(RUN)
