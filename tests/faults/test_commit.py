"""SIGKILL at every step of a job: one record, one event, an empty queue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tessera.pb.scorer_pb2 import ScoreResponse
from tessera.runtime import jobkeys, topology
from tessera.runtime.failpoints import POINTS
from tessera.runtime.records import Records, to_json
from toy.harness import bed, each, request

pytestmark = pytest.mark.faults


# Before anything is recorded, when the record is, and when the run has been told; make test-all kills at every step.
ALWAYS = ("computed", "record", "event")


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=() if point in ALWAYS else pytest.mark.full) for point in POINTS]
)
async def test_a_kill_after_any_step_replays_into_one_result(tmp_path: Path, nats_url: str, point: str) -> None:
    async with bed(tmp_path, nats_url, ack_wait=3.0, heartbeat=0.3) as made:
        doomed = await made.start(TESSERA_FAILPOINT=point)
        (key,) = await made.submit(request(1, "noise"))
        assert await asyncio.to_thread(doomed.wait) == -9
        await made.start()
        events = await made.ends(1)
        await made.idle()
        await asyncio.sleep(0.2)
        events = await made.ends(1)
        assert [event.WhichOneof("kind") for event in events] == ["job_done"]
        record = events[0].job_done.record
        assert await made.record(key) == record
        # The job's path holds the same record, and every reference in it is whole.
        assert await made.store.read_key(jobkeys.record_key("Score", key), 1 << 20) == to_json(record)
        assert await made.store.get(ScoreResponse.FromString(record.response).scores)
        # Results recorded before the kill are not computed again.
        computed_once = POINTS.index(point) in (0, *range(POINTS.index("record"), len(POINTS)))
        assert made.runs(1) == (1 if computed_once else 2)


async def test_two_workers_with_one_job_end_with_one_result(tmp_path: Path, nats_url: str) -> None:
    """Stopped beyond its ack wait, the first worker loses the job, comes back and commits late."""
    import signal

    async with bed(tmp_path, nats_url, ack_wait=3.0, heartbeat=0.3) as made:
        first = await made.start()
        (key,) = await made.submit(request(1, "sleep:0.8", "noise"))
        while not made.runs(1):
            await asyncio.sleep(0.02)
        first.signal(signal.SIGSTOP)
        await made.start()
        (done,) = await made.ends(1)
        first.signal(signal.SIGCONT)
        await made.idle()
        await asyncio.sleep(2.0)
        assert made.runs(1) == 2
        (event,) = await made.ends(1)
        assert event == done
        assert await made.record(key) == done.job_done.record
        assert await made.store.read_key(jobkeys.record_key("Score", key), 1 << 20) == to_json(done.job_done.record)


def _response(count: int) -> bytes:
    return ScoreResponse(region_count=count).SerializeToString()


async def test_the_loser_of_a_race_adopts_the_winner(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        records = Records(made.messaging, made.store)
        from tessera.pb.jobs_pb2 import JobRecord

        key = "a" * 64
        mine = [JobRecord(job_key=key, method="Score", response=_response(n)) for n in range(8)]
        results = await asyncio.gather(*(records.commit(record) for record in mine))
        assert len({result.response for result in results}) == 1
        assert await made.store.read_key(jobkeys.record_key("Score", key), 1 << 20) == to_json(results[0])
        # A result that the store has lost is done again and becomes the result.
        for path in (tmp_path / "store").rglob("*"):
            if path.is_file():
                path.unlink()
        assert await records.find("Score", key) is None
        again = await records.commit(JobRecord(job_key=key, method="Score", response=_response(9)))
        assert again.response == _response(9)
        assert await records.find("Score", key) == again


async def test_a_record_survives_the_loss_of_nats(tmp_path: Path, nats_url: str) -> None:
    """Truth is in the store: with an empty results bucket the record at the job's path is the result."""
    async with bed(tmp_path, nats_url) as made:
        await made.start()
        (key,) = await made.submit(request(1, "noise"))
        (event,) = await made.ends(1)
        await made.idle()
        await made.messaging.kv_delete(topology.RESULTS, key)
        await made.submit(request(1, "noise"), run_id="later")
        (later,) = await made.ends(1, run_id="later")
        assert later.job_done.record == event.job_done.record
        assert made.runs(1) == 1
        assert len(list(each([event], "job_done"))) == 1
