"""The event log of runs as a coordinator uses it, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tessera.errors import BadInput, Conflict
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from tessera.pb.runs_pb2 import RunEvent, RunResumed, StepStarted
from tessera.runtime import topology
from tessera.runtime.events import EventLog, JobProgress
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.settings import load


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[Messaging]:
    connection = await connect(nats_url, name="events")
    await topology.ensure(connection, load(), ["score"])
    yield connection
    await connection.close()


@pytest.fixture
def log(nats: Messaging) -> EventLog:
    return EventLog(nats)


def step(number: int) -> RunEvent:
    return RunEvent(step_started=StepStarted(round=number, step="score"))


async def test_two_writers_cannot_both_append(log: EventLog) -> None:
    first = await log.append("run", step(0), 0)
    results = await asyncio.gather(*(log.append("run", step(n), first) for n in (1, 2, 3)), return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 2
    assert len(await log.read("run")) == 2


async def test_results_of_workers_do_not_disturb_the_expectation(log: EventLog) -> None:
    first = await log.append("run", step(0), 0)
    await log.job_done("run", JobRecord(job_key="k"))
    second = await log.append("run", step(1), first)
    assert [sequence for sequence, _ in await log.read("run")] == [first, first + 1, second]


async def test_time_is_the_servers_and_never_the_writers(log: EventLog) -> None:
    event = step(0)
    event.time.FromJsonString("1999-01-01T00:00:00Z")
    await log.append("run", event, 0)
    ((_, read),) = await log.read("run")
    assert read.time.ToDatetime().year > 2000
    read.ClearField("time")
    assert read == step(0)


async def test_an_end_is_told_once_but_a_failure_of_a_new_delivery_anew(log: EventLog) -> None:
    for _ in range(3):
        await log.job_done("run", JobRecord(job_key="k"))
        await log.job_failed("run", JobFailure(job_key="k"), 1)
    await log.job_failed("run", JobFailure(job_key="k"), 2)
    assert len(await log.read("run")) == 3


async def test_a_job_is_queued_once_unless_there_is_a_reason(log: EventLog, nats: Messaging) -> None:
    envelope = JobEnvelope(job_key="k", method="Score", run_id="run")
    first = await log.dispatch(envelope)
    second = await log.dispatch(envelope)
    assert (first.duplicate, second.duplicate, second.sequence) == (False, True, first.sequence)
    assert not (await log.dispatch(envelope, nonce="7")).duplicate
    assert (await nats._js.stream_info("JOBS")).state.messages == 2


async def test_runs_do_not_see_each_other(log: EventLog) -> None:
    names = ["a", "a-b", "a_b", "A", "0", "r" * 128]
    for index, name in enumerate(names):
        await log.append(name, step(index), 0)
    assert await log.run_ids() == sorted(names)
    for index, name in enumerate(names):
        ((_, event),) = await log.read(name)
        assert event.step_started.round == index
    assert await log.read("none") == []


@pytest.mark.parametrize("name", ["", "a.b", "a*", ">", "ü 1", "-a", "r" * 129, "r" * 5000, "a\n"])
async def test_what_cannot_name_a_run_is_refused_wherever_it_is_used(log: EventLog, name: str) -> None:
    for use in (log.append(name, step(0), 0), log.read(name), log.cancel(name, "x"), log.uncancel(name)):
        with pytest.raises(BadInput, match="run_id"):
            await use
    assert await log.run_ids() == []


async def test_following_all_runs_gives_their_names(log: EventLog) -> None:
    await log.append("x-y", step(0), 0)
    start = await log.append("z", step(1), 0)
    seen = []

    async def follow() -> None:
        async for logged in log.follow(None, start):
            seen.append((logged.run_id, logged.sequence))
            if len(seen) == 2:
                return

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.1)
    last = await log.append("z", RunEvent(resumed=RunResumed()), start)
    await asyncio.wait_for(task, 5)
    assert seen == [("z", start), ("z", last)]


async def test_cancelling_is_idempotent_and_can_be_undone(log: EventLog) -> None:
    assert not await log.is_cancelled("run")
    await log.cancel("run", "why")
    await log.cancel("run", "why")
    assert await log.is_cancelled("run")
    assert not await log.is_cancelled("other")
    assert not await log.is_cancelled("")
    await log.uncancel("run")
    await log.uncancel("run")
    assert not await log.is_cancelled("run")


async def test_progress_reaches_who_watches(log: EventLog) -> None:
    sent = JobProgress("k", "Score", 0.5, "half")

    async def first() -> JobProgress:
        async for progress in log.progress("run"):
            return progress
        raise AssertionError("the stream ended")

    task = asyncio.create_task(first())
    await asyncio.sleep(0.1)
    await log.tell_progress("run", sent)
    assert await asyncio.wait_for(task, 5) == sent
