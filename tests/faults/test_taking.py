"""A coordinator that is killed while a round takes up a version of its data set: what was committed stays."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from faults.test_people import WAIT_SECONDS, Coordinator
from servers import NatsProcess
from tessera.formats import keys
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem, SeriesPlace, dataset_to_json
from tessera.formats.versions import DatasetVersion
from tessera.loop import plan
from tessera.loop.reducer import DONE, RUNNING, RunState, fold
from tessera.pb import runs_pb2 as runs
from tessera.pb.common_pb2 import Dataset, ObjectRef
from tessera.pb.jobs_pb2 import JobRecord
from tessera.runtime import series
from tessera.runtime.events import EventLog
from tessera.runtime.failpoints import TAKE_POINTS
from tessera.runtime.messaging import connect
from tessera.runtime.objects import ObjectStore, open_store
from tessera.runtime.settings import load
from unit.loop.simulator import CLASSES, World, spec_of
from unit.loop.simulator import load as recipe

pytestmark = pytest.mark.faults
SIZES = {1: 3, 2: 5, 3: 8}


async def add_version(store: ObjectStore, number: int) -> DatasetVersion:
    items = tuple(
        ImageItem(f"i{at}", ObjectRef(bucket="s3://camera", key=f"{at}.jpg", sha256="ab" * 32, size=1), 8, 8, "", 0.0)
        for at in range(SIZES[number])
    )
    classes = tuple(ClassInfo(name, (at, 0, 0)) for at, name in enumerate(CLASSES))
    place = SeriesPlace("camera", number, "cd" * 32 if number > 1 else "")
    data = dataset_to_json(DatasetManifest(f"camera-{number}", classes, {"train": items}, series=place))
    made = Dataset(manifest=await store.put(keys.dataset_manifest(f"camera-{number}"), data, "application/json"))
    version = DatasetVersion("camera", number, made, {"train": len(items)}, CLASSES)
    await series.add(store, version)
    return version


async def play(log: EventLog, workers: World, run_id: str) -> RunState:
    """Do the jobs of a run but for those that are the coordinator's own."""
    done: set[str] = set()
    while True:
        state = fold(RunState(), [event for _, event in await log.read(run_id)])
        assert state.status in (0, RUNNING, DONE), state.message
        if state.status == DONE:
            return state
        for step in state.open_steps:
            for key, job in zip(step.job_keys, plan.jobs(state, step), strict=True):
                if step.name != "take" and key not in done:
                    response = workers.answer(job).SerializeToString(deterministic=True)
                    await log.job_done(run_id, JobRecord(job_key=key, method=job.method, response=response))
                    done.add(key)
        await asyncio.sleep(0.1)


@pytest.mark.full
@pytest.mark.parametrize(("point", "versions"), [(TAKE_POINTS[0], [3, 3]), (TAKE_POINTS[1], [2, 3])])
async def test_a_version_that_was_committed_is_the_rounds_whatever_comes_later(
    tmp_path: Path, nats_server: NatsProcess, point: str, versions: list[int]
) -> None:
    """Killed just after it found version 2, or committed it; version 3 is there before it starts again."""
    settings = load(nats_url=nats_server.url, store=(tmp_path / "store").as_uri(), fsync=False)
    store = open_store(settings.store, settings)
    first = await add_version(store, 1)
    await add_version(store, 2)
    spec = spec_of(recipe("street_entropy", budget__rounds=2, budget__per_round=4), train=SIZES[1], run_id="growing")
    spec.dataset.manifest.CopyFrom(first.dataset.manifest)
    spec.series, spec.version = "camera", 1
    coordinator = Coordinator(tmp_path, nats_server.url)
    coordinator.start(TESSERA_FAILPOINT=point)
    messaging = None
    try:
        submitted = runs.SubmitRunRequest(spec=spec)
        await coordinator.call("tessera.v1.RunsService/SubmitRun", submitted, runs.SubmitRunResponse)
        messaging = await connect(nats_server.url, name="workers")
        log = EventLog(messaging, store)
        playing = asyncio.create_task(play(log, World(), "growing"))
        async with asyncio.timeout(WAIT_SECONDS):
            while coordinator.process.poll() is None:
                assert not playing.done(), playing.result()
                await asyncio.sleep(0.1)
        assert coordinator.process.returncode == -signal.SIGKILL
        await add_version(store, 3)
        coordinator.start()
        async with asyncio.timeout(WAIT_SECONDS):
            state = await playing
        taken = [state.steps[round_, "take"].responses(runs.TakeVersionResponse)[0] for round_ in (1, 2)]
        assert [one.version for one in taken] == versions
        assert [one.split_sizes["train"] for one in taken] == [SIZES[version] for version in versions]
    finally:
        coordinator.kill()
        if messaging is not None:
            await messaging.close()
