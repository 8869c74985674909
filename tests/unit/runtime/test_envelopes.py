"""Requests of any size reach the worker: small ones in the message, large ones through the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.errors import BadInput, CorruptObject
from tessera.pb.common_pb2 import ImageRange, ObjectRef, RegionShard
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.pb.scorer_pb2 import ScoreResponse
from tessera.pb.selector_pb2 import SelectRequest
from tessera.runtime import envelopes, rpc
from tessera.runtime.events import EventLog
from tessera.runtime.objects import make_ref, open_store
from tessera.runtime.settings import load
from toy.harness import bed, envelope, request


def reference(number: int) -> ObjectRef:
    made = make_ref("tessera", "cas/sha256/x", str(number).encode(), "application/vnd.apache.parquet")
    made.key = f"runs/cas/sha256/{made.sha256[:2]}/{made.sha256[2:]}"
    return made


def whole_pool(shards: int) -> SelectRequest:
    """A selection over ``shards`` shards of 16 images with one score table each."""
    return SelectRequest(
        shards=[
            RegionShard(
                images=ImageRange(split="train", start=16 * at, end=16 * at + 16),
                regions=reference(3 * at),
                maps=reference(3 * at + 1),
                region_count=2640,
            )
            for at in range(shards)
        ],
        scores=[reference(3 * at + 2) for at in range(shards)],
    )


def sealed(shards: int) -> JobEnvelope:
    content = whole_pool(shards).SerializeToString()
    return JobEnvelope(job_key="k" * 64, method="Select", request=content, run_id="r")


async def test_a_shard_takes_six_hundred_bytes_and_requests_travel_whole_up_to_the_limit(tmp_path: Path) -> None:
    settings = load(store=tmp_path.as_uri(), fsync=False)
    store = open_store(settings.store, settings)
    each = (sealed(101).ByteSize() - sealed(1).ByteSize()) / 100
    assert 560 < each < 640
    small = sealed(100)
    assert await envelopes.pack(small, store, settings.message_bytes) is small
    # Cityscapes has 186 shards of 16 images, 6 million regions about 400.
    for shards in (110, 186, 400):
        packed = await envelopes.pack(sealed(shards), store, settings.message_bytes)
        assert packed.ByteSize() < 512
        assert not packed.request
        assert (packed.job_key, packed.method, packed.run_id) == ("k" * 64, "Select", "r")
        content = await envelopes.request_of(packed, store, settings.request_bytes)
        assert SelectRequest.FromString(content) == whole_pool(shards)
        assert await envelopes.pack(packed, store, 600) == packed


async def test_requests_beyond_the_limit_and_lost_ones_are_named(tmp_path: Path) -> None:
    settings = load(store=tmp_path.as_uri(), fsync=False)
    store = open_store(settings.store, settings)
    packed = await envelopes.pack(sealed(200), store, settings.message_bytes)
    with pytest.raises(BadInput, match=r"Select job: its request has 1\d+ bytes, at most 1024 are read"):
        await envelopes.request_of(packed, store, 1024)
    packed.request_ref.CopyFrom(reference(1))
    packed.request_ref.bucket = store.bucket
    packed.request_ref.key = "cas/sha256/no"
    with pytest.raises(CorruptObject, match="is not in the store"):
        await envelopes.request_of(packed, store, settings.request_bytes)


async def test_a_worker_takes_a_request_of_any_size_through_both_doors(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        service = await made.start()
        large = request(1, *(f"noise-{number}-{'x' * 100}" for number in range(2000)))
        assert large.ByteSize() > 3 * made.settings.message_bytes
        with pytest.raises(BadInput):
            await EventLog(made.messaging).dispatch(envelope(large))
        log = EventLog(made.messaging, made.store, made.settings.message_bytes)
        assert await log.dispatch(envelope(large))
        (event,) = await made.ends(1)
        assert event.job_done.record.job_key == envelope(large).job_key
        called = await rpc.call(service.address, "tessera.v1.ScorerService/Score", large, ScoreResponse, 20)
        assert called.SerializeToString(deterministic=True) == event.job_done.record.response
        # A reference to nothing ends the job with a sentence and keeps the worker.
        lost = JobEnvelope(job_key="0" * 64, method="Score", run_id="run-1")
        lost.request_ref.CopyFrom(make_ref(made.store.bucket, "cas/sha256/aa/bb", b"gone", "x"))
        await log.dispatch(lost)
        events = await made.ends(2)
        failure = next(one.job_failed.failure for one in events if one.HasField("job_failed"))
        assert failure.reason == "corrupt_object"
        assert "is not in the store" in failure.message
