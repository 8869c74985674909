"""Records and objects that were cut, altered, mixed up or lost count as absent: the job is done again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format

from tessera.loop.responses import digest
from tessera.pb.jobs_pb2 import JobRecord
from tessera.pb.scorer_pb2 import ScoreResponse
from tessera.runtime import jobkeys, objects, topology
from tessera.runtime.records import Records, to_json
from toy.harness import Bed, bed, envelope, request

pytestmark = pytest.mark.faults


def _path(made: Bed, key: str) -> Path:
    return made.folder / "store" / jobkeys.record_key("Score", key)


def _copy(made: Bed, data: bytes) -> Path:
    return made.folder / "store" / objects.content_key(objects.sha256(data))


def _blob(made: Bed, record: JobRecord) -> Path:
    return made.folder / "store" / ScoreResponse.FromString(record.response).scores.key


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(made: Bed, record: JobRecord) -> None:
    path = _path(made, record.job_key)
    path.write_bytes(path.read_bytes()[:-20])


def _altered(made: Bed, record: JobRecord) -> None:
    response = ScoreResponse.FromString(record.response)
    response.region_count = 999
    forged = JobRecord()
    forged.CopyFrom(record)
    forged.response = response.SerializeToString()
    _path(made, record.job_key).write_bytes(to_json(forged))


def _of_another_job(made: Bed, record: JobRecord) -> None:
    other = JobRecord()
    other.CopyFrom(record)
    other.job_key = "b" * 64
    data = to_json(other)
    _path(made, record.job_key).write_bytes(data)
    _copy(made, data).parent.mkdir(parents=True, exist_ok=True)
    _copy(made, data).write_bytes(data)


def _both_copies_flipped(made: Bed, record: JobRecord) -> None:
    _flip(_copy(made, to_json(record)))
    _flip(_path(made, record.job_key))


def _both_copies_lost(made: Bed, record: JobRecord) -> None:
    _copy(made, to_json(record)).unlink()
    _path(made, record.job_key).unlink()


def _blob_lost(made: Bed, record: JobRecord) -> None:
    _blob(made, record).unlink()


def _blob_flipped(made: Bed, record: JobRecord) -> None:
    _flip(_blob(made, record))


Damage = Callable[[Bed, JobRecord], None]
ANY_NATS = (_both_copies_flipped, _both_copies_lost, _blob_lost, _blob_flipped)
NEW_NATS = (_cut, _altered, _of_another_job)


@pytest.mark.parametrize(
    ("damage", "new_nats"),
    [
        *(pytest.param(one, False, marks=pytest.mark.full) for one in ANY_NATS),
        *((one, True) for one in (*ANY_NATS, *NEW_NATS)),
    ],
)
async def test_what_cannot_be_believed_is_made_again(
    tmp_path: Path, nats_url: str, damage: Damage, new_nats: bool
) -> None:
    async with bed(tmp_path, nats_url) as made:
        await made.start()
        (key,) = await made.submit(request(1))
        (event,) = await made.ends(1)
        first = event.job_done.record
        damage(made, first)
        if new_nats:
            await made.messaging.kv_delete(topology.RESULTS, key)
        assert await made.record(key) is None
        await made.submit(request(1), run_id="later")
        (later,) = await made.ends(1, run_id="later")
        second = later.job_done.record
        assert made.runs(1) == 2
        assert second.response == first.response
        assert await made.record(key) == second
        assert await Records(made.messaging, made.store).problem(second) == ""
        assert await made.store.get(ScoreResponse.FromString(second.response).scores)


async def test_one_intact_copy_of_the_winner_is_enough(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        await made.start()
        (key,) = await made.submit(request(1, "noise"))
        (event,) = await made.ends(1)
        record = event.job_done.record
        for damaged in (_copy(made, to_json(record)), _path(made, key)):
            _flip(damaged)
            assert await made.record(key) == record
            await Records(made.messaging, made.store).commit(record)
            assert await Records(made.messaging, made.store).problem(record) == ""
        assert made.runs(1) == 1


async def test_a_distrusted_record_is_replaced_once(tmp_path: Path, nats_url: str) -> None:
    """Delivered again, the job finds the new record and does not run a third time."""
    async with bed(tmp_path, nats_url) as made:
        await made.start()
        (key,) = await made.submit(request(1, "noise"))
        (event,) = await made.ends(1)
        again = envelope(request(1, "noise"))
        again.distrusted = digest(event.job_done.record)
        for nonce in ("once", "twice"):
            await made.events.dispatch(again, nonce)
        events = await made.ends(3)
        second, third = (each.job_done.record for each in events[1:])
        assert made.runs(1) == 2
        assert second == third != event.job_done.record
        assert await made.record(key) == second


@pytest.mark.parametrize("sealed", [True, False])
async def test_a_seal_shows_a_forged_result_and_without_one_it_is_taken(
    tmp_path: Path, nats_url: str, sealed: bool
) -> None:
    """Whoever may write both copies of a record to the store forges it, unless the deployment has a key."""
    async with bed(tmp_path, nats_url, **({"record_key": "of this deployment"} if sealed else {})) as made:
        await made.start()
        (key,) = await made.submit(request(1))
        (event,) = await made.ends(1)
        _altered(made, event.job_done.record)
        forged = _path(made, key).read_bytes()
        _copy(made, forged).parent.mkdir(parents=True, exist_ok=True)
        _copy(made, forged).write_bytes(forged)
        await made.messaging.kv_delete(topology.RESULTS, key)
        await made.submit(request(1), run_id="later")
        (later,) = await made.ends(1, run_id="later")
        assert ScoreResponse.FromString(later.job_done.record.response).region_count == (1 if sealed else 999)
        assert made.runs(1) == (2 if sealed else 1)


async def test_a_record_of_another_algorithm_is_none_of_this_job(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        records = Records(made.messaging, made.store)
        record = JobRecord(job_key="a" * 64, method="Score", algorithm="toy/0", response=b"")
        await records.commit(record)
        assert await records.find("Score", "a" * 64, algorithm="toy/0") == record
        assert await records.find("Score", "a" * 64, algorithm="toy/1") is None
        assert json_format.Parse(_path(made, "a" * 64).read_bytes(), JobRecord()) == record


@pytest.mark.parametrize(
    "advisory",
    [
        '{"stream_seq": Infinity, "deliveries": 6}',
        '{"stream_seq": NaN, "deliveries": 6}',
        '{"stream_seq": -1, "deliveries": 6}',
        '{"stream_seq": 1e300, "deliveries": 6}',
        '{"stream_seq": true, "deliveries": 6}',
        '{"stream_seq": 99999999999999999999999, "deliveries": 6}',
        '{"stream_seq": 1}',
        "[" * 100_000,
        "[]",
        "not json",
    ],
    ids=["infinite", "nan", "negative", "huge", "bool", "long", "missing", "deep", "list", "text"],
)
async def test_no_advisory_stops_a_service_or_is_tried_for_ever(tmp_path: Path, nats_url: str, advisory: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        service = await made.start()
        subject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.worker-score"
        await made.messaging._client.publish(subject, advisory.encode())
        await made.submit(request(1))
        await made.ends(1)

        async def settled() -> bool:
            info = await made.messaging._js.consumer_info(topology.ADVISORIES, topology.POISON)
            return info.num_pending == 0 and info.num_ack_pending == 0 and info.delivered.stream_seq >= 1

        from toy.harness import eventually

        await eventually(settled)
        assert service.process is not None
        assert service.process.poll() is None


async def test_an_advisory_about_a_message_that_is_no_job_is_moved(tmp_path: Path, nats_url: str) -> None:
    """What lies in the queue may name any key, run and method; it ends as a dead letter and the reader lives."""
    from tessera.pb.jobs_pb2 import JobEnvelope
    from tessera.runtime.dead_letters import DeadLetters
    from toy.harness import eventually

    async with bed(tmp_path, nats_url) as made:
        stray = JobEnvelope(job_key="../../etc *", method="No/Such", run_id="").SerializeToString()
        published = await made.messaging.publish("tessera.job.nobody", stray)
        service = await made.start()
        told = json.dumps({"stream_seq": published.sequence, "deliveries": 6}).encode()
        await made.messaging._client.publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.worker-score", told)

        async def moved() -> bool:
            return len(await DeadLetters(made.messaging).list()) == 1

        await eventually(moved)
        await made.idle()
        assert service.process is not None
        assert service.process.poll() is None
