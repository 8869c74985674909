"""Drivers on one log: every step is started once, whoever dies, and nothing is queued twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest

from memory_blobs import MemoryBlobs
from services.coordinator.book import Book
from services.coordinator.driver import Driver
from services.coordinator.runs import Runs
from tessera.errors import BadInput
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem, dataset_to_json
from tessera.loop import plan
from tessera.pb import runs_pb2 as pb
from tessera.pb.common_pb2 import Dataset
from tessera.runtime import catalogue
from tessera.runtime.setting_aside import completed
from unit.coordinator.fake_log import FakeLog
from unit.loop.simulator import CLASSES, key_of, load, ref, spec_of, walk

ENDED = (pb.RUN_STATUS_DONE, pb.RUN_STATUS_FAILED, pb.RUN_STATUS_CANCELLED)


class Coordinator:
    """One coordinator process."""

    def __init__(self, log, **options):
        self.log, self.book, self.store = log, Book(log), MemoryBlobs()
        self.runs = Runs(log, self.book, self.store)
        self.options = {"grace": 0.01, "pause": 0.01, **options}

    async def __aenter__(self):
        self.driver = Driver(self.log, self.book, self.options.pop("job_key", key_of), **self.options)
        self.task = asyncio.create_task(self.driver.run(await self.book.open()))
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def submit(self, spec):
        return (await self.runs.submit(pb.SubmitRunRequest(spec=spec))).run

    async def ended(self, run_id="run-1"):
        async with asyncio.timeout(60):
            async for response in self.runs.watch(pb.WatchRunRequest(run_id=run_id)):
                if response.run.status in ENDED:
                    return response.run
        raise AssertionError("the watch ended before the run")


@contextlib.asynccontextmanager
async def working(log):
    task = asyncio.create_task(log.work())
    try:
        yield
    finally:
        task.cancel()


def selections(run):
    return [round_.selection_sha256 for round_ in run.rounds]


def reference(name="street_meal", **changes):
    walked = walk(spec_of(load(name, **changes)))
    return [walked.world.answer(step.jobs[0]).selection_sha256 for step in walked.started if step.step == "select"]


async def test_a_run_is_driven_to_its_end():
    log = FakeLog()
    spec = spec_of(load("street_meal"))
    async with working(log), Coordinator(log) as one:
        assert (await one.submit(spec)).status == pb.RUN_STATUS_RUNNING
        run = await one.ended()
    assert (run.status, run.message) == (pb.RUN_STATUS_DONE, "spent")
    assert selections(run) == reference()
    assert len(log.dispatched) == len(set(log.dispatched))
    assert Counter(key for key, _ in log.dispatched).most_common(1)[0][1] == 1


@pytest.mark.parametrize("turns", range(4))
async def test_a_driver_ends_when_it_is_stopped_while_news_arrives(turns):
    """`asyncio.wait_for` in Python 3.11 swallows a cancellation that meets the news."""
    log = FakeLog()
    async with Coordinator(log) as one:
        await one.submit(spec_of(load("street_random")))
        while not log.dispatched:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        one.driver._wakes["run-1"].set()
        for _ in range(turns):
            await asyncio.sleep(0)
        one.task.cancel()
        done, _ = await asyncio.wait([one.task], timeout=5)
        assert done


async def test_two_drivers_start_each_step_once():
    log = FakeLog()
    async with working(log), Coordinator(log) as one, Coordinator(log) as two:
        await asyncio.gather(*(each.submit(spec_of(load("street_meal"))) for each in (one, two)))
        first, second = await asyncio.gather(one.ended(), two.ended())
    assert first == second
    assert selections(first) == reference()
    started = Counter((event.round, event.step) for event in log.kinds("step_started"))
    assert set(started.values()) == {1}
    assert len(started) == len(walk(spec_of(load("street_meal"))).started)
    assert len(log.kinds("submitted")) == len(log.kinds("finished")) == 1
    assert Counter(key for key, _ in log.dispatched).most_common(1)[0][1] == 1
    # Both tried, or the test shows nothing.
    assert log.conflicts > 0


@pytest.mark.parametrize("moment", [1, 2, 5, 9, 14, 30, 61])
async def test_a_driver_that_dies_is_followed_by_another(moment):
    log = FakeLog()
    async with Coordinator(log) as one:
        await one.submit(spec_of(load("street_meal")))
        async with working(log):
            while len(log.events) < moment:
                await asyncio.sleep(0)
    async with working(log), Coordinator(log) as two:
        run = await two.ended()
    assert selections(run) == reference()
    assert set(Counter((event.round, event.step) for event in log.kinds("step_started")).values()) == {1}


async def test_a_driver_that_dies_between_deciding_and_queueing_is_followed_by_another():
    log = FakeLog(full=10**9)
    async with Coordinator(log) as one:
        await one.submit(spec_of(load("street_random")))
        async with asyncio.timeout(60):
            while not log.kinds("step_started"):
                await asyncio.sleep(0)
    assert log.dispatched == []
    log.full = 0
    async with working(log), Coordinator(log) as two:
        assert (await two.ended()).status == pb.RUN_STATUS_DONE


async def test_a_full_queue_is_waited_out():
    log = FakeLog(full=3)
    async with working(log), Coordinator(log) as one:
        await one.submit(spec_of(load("street_random")))
        assert (await one.ended()).status == pb.RUN_STATUS_DONE


async def test_no_more_jobs_than_the_window_are_out():
    log = FakeLog()
    async with Coordinator(log, window=2) as one:
        await one.submit(spec_of(load("street_random", runtime__shard_images=4)))
        for expected in (2, 3, 4):
            async with asyncio.timeout(60):
                while len(log.dispatched) < expected:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.02)
            assert len(log.dispatched) == expected
            log.answer(log.queue.pop(0))


async def test_a_failed_job_fails_the_run_and_a_resume_goes_on():
    log = FakeLog(fail_method="Train")
    async with working(log), Coordinator(log) as one:
        await one.submit(spec_of(load("street_random")))
        run = await one.ended()
        assert (run.status, run.exit_code) == (pb.RUN_STATUS_FAILED, 2)
        assert "image a.png is truncated" in run.message
        log.fail_method = ""
        resumed = (await one.runs.resume(pb.ResumeRunRequest(run_id="run-1"))).run
        assert resumed.status == pb.RUN_STATUS_RUNNING
        run = await one.ended()
    assert run.status == pb.RUN_STATUS_DONE
    assert selections(run) == reference("street_random")
    # The failed job was queued again although its first message was a moment ago.
    assert Counter(key for key, _ in log.dispatched).most_common(1)[0][1] == 2


async def test_cancel_and_resume():
    log = FakeLog()
    async with Coordinator(log) as one:
        await one.submit(spec_of(load("street_random")))
        async with working(log):
            while len(log.events) < 20:
                await asyncio.sleep(0)
            request = pb.CancelRunRequest(run_id="run-1", reason="enough")
            run = (await one.runs.cancel(request)).run
            assert (run.status, run.message, run.exit_code) == (pb.RUN_STATUS_CANCELLED, "enough", 130)
            assert log.cancelled == {"run-1"}
            assert (await one.runs.cancel(request)).run.status == pb.RUN_STATUS_CANCELLED
            await asyncio.sleep(0.05)
            log.queue.clear()
            await asyncio.gather(*(one.runs.resume(pb.ResumeRunRequest(run_id="run-1")) for _ in range(3)))
            assert log.cancelled == set()
            run = await one.ended()
            assert (await one.runs.cancel(request)).run.status == pb.RUN_STATUS_DONE
    assert selections(run) == reference("street_random")
    assert len(log.kinds("resumed")) == 1


async def test_submitting_again_returns_the_run_and_another_run_of_this_name_is_refused():
    log = FakeLog()
    spec = spec_of(load("street_random"))
    async with working(log), Coordinator(log) as one:
        views = await asyncio.gather(*(one.submit(spec) for _ in range(10)))
        assert {view.spec.run_id for view in views} == {"run-1"}
        await one.ended()
        assert (await one.submit(spec)).status == pb.RUN_STATUS_DONE
        assert len(log.kinds("submitted")) == 1
        with pytest.raises(BadInput, match="the id is taken"):
            await one.submit(spec_of(load("street_random"), seed=8))


def following(version, images, **changes):
    """A run that follows a data set, as it is submitted when that has so many images."""
    spec = spec_of(load("street_random", **changes), train=images)
    spec.series, spec.version = "camera", version
    return spec


async def test_a_run_whose_data_set_has_grown_stays_that_run():
    log = FakeLog()
    first, grown = following(1, 40), following(2, 50)
    async with Coordinator(log) as one:
        await one.submit(first)
        told = await one.runs.submit(pb.SubmitRunRequest(spec=grown))
        assert told.run.spec == first
        assert "run run-1 is there already, and stays as it is: it has version 1 of data set camera" in told.note
        assert "takes up the newest" in told.note
        assert told.note.endswith("For a new run that begins with version 2: --data dataset:camera@2+")
        assert (await one.runs.submit(pb.SubmitRunRequest(spec=first))).note == ""
        await one.runs.cancel(pb.CancelRunRequest(run_id="run-1"))
        assert "cancelled, with version 1" in (await one.runs.submit(pb.SubmitRunRequest(spec=grown))).note
        for other in (following(2, 50, budget__rounds=1), spec_of(load("street_random"))):
            with pytest.raises(BadInput, match="the id is taken"):
                await one.submit(other)
    assert len(log.kinds("submitted")) == 1
    # NATS is lost, and the run is submitted by its recipe instead of by tessera rebuild: it begins as it began.
    later = FakeLog(specs=log.specs)
    async with Coordinator(later) as one:
        told = await one.runs.submit(pb.SubmitRunRequest(spec=grown))
        assert told.run.spec == first
        assert "it has version 1" in told.note
    assert later.specs["run-1"] == first


async def test_any_caller_gets_the_evaluation_set_that_the_command_line_puts_aside():
    log, recipe = FakeLog(), load("street_random", evaluation__images=5, evaluate=["val"], oracle={"name": "human"})
    classes = tuple(ClassInfo(name, (0, 0, at)) for at, name in enumerate(CLASSES))
    images = tuple(ImageItem(f"i{at}", ref("image", at), 8, 6, "", 0.0) for at in range(40))
    async with Coordinator(log) as one:
        spec = spec_of(recipe)
        for split in ("val", "test"):
            del spec.split_sizes[split]
        spec.dataset.CopyFrom(
            Dataset(manifest=one.store.write(dataset_to_json(DatasetManifest("camera", classes, {"train": images}))))
        )
        ready = await completed(one.store, recipe, spec)
        assert dict(ready.split_sizes) == {"train": 35, "val": 5}
        run = await one.submit(spec)
        assert run.spec == ready
        assert [event.spec for event in log.kinds("submitted")] == [ready] == [*log.specs.values()]
        # Whichever way it is submitted again, it is that run, without a note.
        for again in (spec, ready):
            told = await one.runs.submit(pb.SubmitRunRequest(spec=again))
            assert (told.run.spec, told.note) == (ready, "")


@pytest.mark.parametrize("run_id", ["", "a.b", "a b", "-a", "x" * 129, "../x"])
async def test_a_name_that_cannot_be_a_subject_is_refused(run_id):
    log = FakeLog()
    async with Coordinator(log) as one:
        with pytest.raises(BadInput, match="run_id"):
            await one.submit(spec_of(load("street_random"), run_id=run_id))
    assert log.events == []


async def test_what_cannot_be_planned_is_refused_before_it_is_a_run():
    log = FakeLog()
    spec = spec_of(load("street_random"), val=0)
    async with Coordinator(log) as one:
        with pytest.raises(BadInput, match="no images in split 'val'"):
            await one.submit(spec)
        with pytest.raises(BadInput, match="unknown"):
            await one.runs.get(pb.GetRunRequest(run_id="run-1"))
    assert log.events == []


async def test_jobs_of_a_replaced_method_carry_the_version_of_its_workers():
    log = FakeLog()
    async with working(log), Coordinator(log, replaced={"Select": "plain/1"}) as one:
        await one.submit(spec_of(load("street_random")))
        await one.ended()
    sent = {(one.method, one.algorithm) for one in log._messages.values()}
    ours = {(name, method.algorithm) for name, (_, method) in catalogue.methods().items() if name != "Select"}
    assert ("Select", "plain/1") in sent
    assert sent - {("Select", "plain/1")} <= ours


async def test_a_version_that_names_jobs_differently_says_so():
    log = FakeLog()
    async with Coordinator(log) as one:
        await one.submit(spec_of(load("street_random")))
        while not log.kinds("step_started"):
            await asyncio.sleep(0)
    async with Coordinator(log, job_key=lambda method, request: "other" + key_of(method, request)) as two:
        run = await two.ended()
    assert (run.status, run.exit_code) == (pb.RUN_STATUS_FAILED, 2)
    assert "this version of Tessera plans other jobs" in run.message


async def test_a_fault_in_planning_ends_its_run_and_no_other(monkeypatch):
    log = FakeLog()
    broken = plan.next_action

    def failing(state):
        if state.spec.run_id == "broken" and state.status == pb.RUN_STATUS_RUNNING:
            raise RuntimeError("a bug")
        return broken(state)

    monkeypatch.setattr(plan, "next_action", failing)
    async with working(log), Coordinator(log) as one:
        for run_id in ("broken", "run-1"):
            await one.submit(spec_of(load("street_random"), run_id=run_id))
        assert "RuntimeError: a bug" in (await one.ended("broken")).message
        assert (await one.ended()).status == pb.RUN_STATUS_DONE


async def test_many_runs_at_once_and_the_list_is_short():
    log = FakeLog()
    async with working(log), Coordinator(log) as one:
        for seed in range(4):
            await one.submit(spec_of(load("street_random", budget__rounds=1), run_id=f"run-{seed}", seed=seed))
        for seed in range(4):
            assert (await one.ended(f"run-{seed}")).status == pb.RUN_STATUS_DONE
        listed = (await one.runs.list(pb.ListRunsRequest())).runs
    assert [run.spec.run_id for run in listed] == [f"run-{seed}" for seed in range(4)]
    assert all(not run.rounds for run in listed)


async def test_a_coordinator_that_starts_late_knows_finished_runs():
    log = FakeLog()
    async with working(log), Coordinator(log) as one:
        await one.submit(spec_of(load("street_random")))
        run = await one.ended()
    async with Coordinator(log) as two:
        assert (await two.runs.get(pb.GetRunRequest(run_id="run-1"))).run == run
        assert two.book.entries["run-1"].state is None


async def test_jobs_that_are_lost_are_queued_again_and_the_run_ends() -> None:
    """A purged queue: no result, no failure, no message."""
    log = FakeLog()
    spec = spec_of(load("street_meal"))
    async with Coordinator(log, look=0.05) as one:
        await one.submit(spec)
        while not log.queue:
            await asyncio.sleep(0.01)
        lost = [envelope.job_key for envelope in log.queue]
        log.queue.clear()
        async with working(log):
            assert (await one.ended()).status == pb.RUN_STATUS_DONE
    again = {key for key, nonce in log.dispatched if nonce.startswith("lost-")}
    assert again >= set(lost)


async def test_a_coordinator_that_starts_queues_nothing_twice_that_still_waits() -> None:
    log = FakeLog()
    spec = spec_of(load("street_meal"))
    async with Coordinator(log) as one:
        await one.submit(spec)
        while not log.queue:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
    before = list(log.dispatched)
    log._ids.clear()  # as after the duplicate window
    async with Coordinator(log, look=0.05) as other:
        await asyncio.sleep(0.5)
        assert log.dispatched == before
        async with working(log):
            assert (await other.ended()).status == pb.RUN_STATUS_DONE
