"""Workers and coordinators of different versions side by side, as in a rolling upgrade."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tessera.pb.scorer_pb2 import ScoreRequest
from tessera.runtime import topology
from tessera.runtime.dead_letters import DeadLetters
from toy.harness import Bed, ToyService, bed, envelope, eventually, request

pytestmark = pytest.mark.faults
_UNKNOWN_FIELD = b"\x9a\x3f\x03new"  # field 1011: what a later version of the message may have


async def _newer(made: Bed, *jobs: ScoreRequest) -> list[str]:
    """Queue jobs as a coordinator whose Score is toy/2 does."""
    sealed = [envelope(job, algorithm="toy/2") for job in jobs]
    for one in sealed:
        await made.events.dispatch(one)
    return [one.job_key for one in sealed]


@pytest.mark.full
async def test_an_old_replica_passes_new_jobs_on_to_a_new_one(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        await made.start()
        new = await _newer(made, *(request(seed) for seed in range(6)))
        old = await made.submit(request(7), request(8))
        await made.ends(2)  # the old ones; it goes on with what it can do
        await made.start(TOY_ALGORITHM="toy/2")
        events = await made.ends(8)
        await made.idle()
        assert {event.WhichOneof("kind") for event in events} == {"job_done"}
        done = {event.job_done.record.job_key: event.job_done.record.algorithm for event in events}
        assert done == {**dict.fromkeys(new, "toy/2"), **dict.fromkeys(old, "toy/1")}
        assert {event.job_done.record.attempt for event in events} == {1}


async def test_a_new_replica_passes_the_jobs_of_an_old_coordinator_on(tmp_path: Path, nats_url: str) -> None:
    """It does not name its version yet: the field is newer than it is."""
    async with bed(tmp_path, nats_url) as made:
        await made.start(TOY_ALGORITHM="toy/2")
        sealed = envelope(request(1))
        sealed.ClearField("algorithm")
        await made.events.dispatch(sealed)
        await eventually(lambda: "of another version are passed on" in made.services[0].log)
        await made.start()
        (event,) = await made.ends(1)
        assert event.job_done.record.algorithm == "toy/1"


@pytest.mark.full
async def test_a_job_that_nobody_can_do_fails_after_the_stated_time_and_names_both_versions(
    tmp_path: Path, nats_url: str
) -> None:
    # Also beyond the server's count of deliveries, which is 2 here.
    async with bed(tmp_path, nats_url, version_patience=5, max_attempts=1) as made:
        await made.start()
        (key,) = await _newer(made, request(1))
        (event,) = await made.ends(1)
        await made.idle()
        failure = event.job_failed.failure
        assert (failure.job_key, failure.reason, failure.exit_code) == (key, "unavailable", 3)
        for word in ("toy/2", "toy/1", "within 5 s"):
            assert word in failure.message
        assert made.runs(1) == 0
        # Once there is a worker of its version, the same job is queued again and done.
        await made.start(TOY_ALGORITHM="toy/2")
        await DeadLetters(made.messaging).requeue(key)
        _, event = await made.ends(2)
        assert event.HasField("job_done")


async def test_a_request_with_fields_that_an_old_worker_does_not_know_waits_for_a_new_one(
    tmp_path: Path, nats_url: str
) -> None:
    async with bed(tmp_path, nats_url, version_patience=1) as made:
        await made.start()
        sealed = envelope(request(1))
        sealed.request += _UNKNOWN_FIELD
        sealed.job_key = "a" * 64  # as the newer version, which counts the field, would spell it
        await made.events.dispatch(sealed)
        (event,) = await made.ends(1)
        assert event.job_failed.failure.reason == "unavailable"
        assert made.runs(1) == 0


async def test_messages_of_a_newer_protocol_are_read_for_what_is_known(tmp_path: Path, nats_url: str) -> None:
    """A newer coordinator adds a field beside the request: the job is the same, and an old worker does it."""
    async with bed(tmp_path, nats_url) as made:
        await made.start()
        data = envelope(request(1)).SerializeToString() + _UNKNOWN_FIELD
        await made.messaging.publish("tessera.job.score", data)
        (event,) = await made.ends(1)
        assert event.HasField("job_done")


_OLD = "1e45c2d27dd671172ae822489da58a7daa78f9ae"
"""The last commit whose workers know neither the envelope's algorithm nor an outage that is no attempt."""


async def _start_old(made: Bed, path: str) -> ToyService:
    """Start an old worker: it insists on the age of events that it was written for, but only while it starts."""
    for age in (90 * topology.DAY, 0.0):
        config = (await made.messaging._js.stream_info(topology.EVENTS)).config
        config.max_age = age
        await made.messaging._js.update_stream(config)
        if age:
            service = await made.start(PYTHONPATH=path)
    return service


async def test_a_worker_of_an_old_checkout_works_beside_a_new_one(tmp_path: Path, nats_url: str) -> None:
    """They share the queue, the counts of attempts and the results, and each reads what the other wrote."""
    root = Path(__file__).parents[2]
    asked = ["git", "-C", str(root), "archive", _OLD, "shared", "services", "tests/toy"]
    packed = await asyncio.to_thread(subprocess.run, asked, capture_output=True, check=False)
    if packed.returncode != 0:
        pytest.skip(f"the commit {_OLD} is not in this checkout: {packed.stderr.decode()[:200]}")
    old = tmp_path / "old"
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(old, filter="data")
    path = os.pathsep.join(str(each) for each in (old / "shared", old, old / "tests"))
    async with bed(tmp_path, nats_url, ack_wait=1.0, heartbeat=0.3) as made:
        older = await _start_old(made, path)
        keys = await made.submit(*(request(seed, "noise") for seed in range(5)))
        await made.ends(5)
        # The other worker gets the job that the killed one held, with its counted attempts.
        newer = await made.start()
        keys += await made.submit(*(request(seed, "sleep:0.1", "noise") for seed in range(10, 40)))
        await eventually(lambda: made.runs(12))
        older.kill()
        newer.kill()
        older, newer = await _start_old(made, path), await made.start()
        events = await made.ends(len(keys))
        await made.idle()
        assert {event.WhichOneof("kind") for event in events} == {"job_done"}
        done = {event.job_done.record.job_key: event.job_done.record for event in events}
        assert sorted(done) == sorted(keys)
        for key, record in done.items():
            assert await made.record(key) == record
        assert older.process is not None
        assert newer.process is not None
        workers = {record.worker.rsplit(":", 1)[1] for record in done.values()}
        assert {str(older.process.pid), str(newer.process.pid)} & workers
        assert "no attribute" not in older.log + newer.log
