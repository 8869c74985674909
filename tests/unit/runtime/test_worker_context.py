"""Promises of a handler's context: verified reads, uploads before the answer, one computation per request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.message import Message

from tessera.errors import BadInput, CorruptObject, TesseraError, Unavailable
from tessera.pb.common_pb2 import ImageRange, ModelRef, ObjectRef, RegionShard
from tessera.pb.embedder_pb2 import FeatureShard, FeaturizeRequest, FitRequest
from tessera.pb.evaluator_pb2 import EvaluateRequest
from tessera.pb.scorer_pb2 import ScoreRequest, ScoreResponse
from tessera.pb.trainer_pb2 import TrainRequest
from tessera.runtime.context import JobContext
from tessera.runtime.execution import Execution
from tessera.runtime.objects import ObjectStore, content_key, open_store, restrict, sha256
from tessera.runtime.pool import ComputePool, ComputeResult, WrittenBlob
from tessera.runtime.settings import load
from toy.handler import METHODS
from toy.harness import request


class FakePool:
    """Writes one blob and remembers what it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[dict[str, Any]] = []
        self.damage = False

    async def run(
        self, function: str, job: object, response_type: type, paths: Mapping[str, Path], **options: Any
    ) -> ComputeResult[ScoreResponse]:
        self.calls.append({"function": function, "paths": dict(paths), **options})
        options["on_progress"](0.5, "half")
        data = b"written"
        digest = sha256(data)
        scratch = self.folder / f"scratch-{len(self.calls)}"
        scratch.mkdir()
        (scratch / "blob").write_bytes(b"changed" if self.damage else data)
        blob = WrittenBlob(content_key(digest), scratch / "blob", "text/plain", digest, len(data))
        ref = ObjectRef(bucket="local", key=blob.key, sha256=digest, size=len(data), media_type="text/plain")
        return ComputeResult(ScoreResponse(scores=ref), [blob], 0.25, scratch)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri(), load(fsync=False))


@pytest.fixture
def pool(tmp_path: Path) -> FakePool:
    return FakePool(tmp_path)


def context(store: ObjectStore, pool: FakePool, told: list[float] | None = None) -> JobContext:
    seen = told if told is not None else []
    return JobContext(METHODS[0], store, cast(ComputePool, pool), lambda fraction, _: seen.append(fraction))


async def test_reads_arrive_as_verified_files_once_each(store: ObjectStore, pool: FakePool) -> None:
    refs = [await store.put_content(b"%d" % index, "text/plain") for index in range(6)]
    told: list[float] = []
    made = context(store, pool, told)
    response = await made.compute(request(1), [*refs, *refs])
    assert isinstance(response, ScoreResponse)
    (call,) = pool.calls
    assert {digest: path.read_bytes() for digest, path in call["paths"].items()} == {
        ref.sha256: b"%d" % index for index, ref in enumerate(refs)
    }
    assert made.compute_seconds == 0.25
    assert told == [0.5]
    assert await store.get(response.scores) == b"written"
    assert not list(pool.folder.glob("scratch-*"))


async def test_a_warm_child_is_one_that_saw_the_images_whatever_the_method_and_the_weights(
    store: ObjectStore, pool: FakePool
) -> None:
    async def affinity(request: Message) -> str:
        await context(store, pool).compute(request, [])
        return str(pool.calls[-1]["affinity"])

    def model(digest: str) -> ModelRef:
        return ModelRef(weights=ObjectRef(sha256=digest))

    manifest = ObjectRef(sha256="data")
    first, second = (ImageRange(split="train", start=at, end=at + 16) for at in (0, 16))
    shard, other = RegionShard(images=first), RegionShard(images=second)
    score = await affinity(ScoreRequest(manifest=manifest, shard=shard, model=model("a")))
    assert await affinity(ScoreRequest(manifest=manifest, shard=shard, model=model("b"))) == score
    assert await affinity(FeaturizeRequest(manifest=manifest, shards=[shard], model=model("a"))) == score
    assert await affinity(EvaluateRequest(manifest=manifest, images=first, model=model("a"))) == score
    different = [
        await affinity(ScoreRequest(manifest=manifest, shard=other, model=model("a"))),
        await affinity(ScoreRequest(manifest=ObjectRef(sha256="other"), shard=shard, model=model("a"))),
        await affinity(EvaluateRequest(manifest=manifest, images=ImageRange(split="val", end=16), model=model("a"))),
    ]
    assert len({score, *different}) == 4
    # What looks at no images, or at those of many shards, goes where its method was.
    assert await affinity(ScoreRequest(manifest=manifest, shard=shard)) == "Score"
    assert await affinity(FeaturizeRequest(manifest=manifest, shards=[shard, other], model=model("a"))) == "Score"
    assert await affinity(FitRequest(shards=[FeatureShard()])) == "Score"
    assert await affinity(TrainRequest(manifest=manifest, shards=[shard])) == "Score"


async def test_a_damaged_read_stops_the_job_before_it_computes(
    store: ObjectStore, pool: FakePool, tmp_path: Path
) -> None:
    ref = await store.put_content(b"whole", "text/plain")
    (found,) = [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.read_bytes() == b"whole"]
    found.chmod(0o600)
    found.write_bytes(b"whale")
    with pytest.raises(CorruptObject, match=ref.key):
        await context(store, pool).compute(request(1), [ref])
    assert pool.calls == []


async def test_labels_that_the_service_may_not_read_are_refused(store: ObjectStore, pool: FakePool) -> None:
    ref = await store.put("datasets/street/labels/test/a.png", b"truth", "image/png")
    made = context(restrict(store, "scorer"), pool)
    with pytest.raises(BadInput, match="permission denied"):
        await made.fetch(ref)
    with pytest.raises(BadInput, match="permission denied"):
        await made.compute(request(1), [ref])
    assert pool.calls == []


async def test_a_failed_upload_gives_no_answer_and_leaves_no_file(
    store: ObjectStore, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise Unavailable("disk full")

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(Unavailable, match="disk full"):
        await context(store, pool).compute(request(1), [])
    assert not list(pool.folder.glob("scratch-*"))


async def test_a_blob_that_changed_after_it_was_written_is_refused(store: ObjectStore, pool: FakePool) -> None:
    pool.damage = True
    with pytest.raises(TesseraError, match="changed before it was stored"):
        await context(store, pool).compute(request(1), [])


class FakeRecords:
    def __init__(self) -> None:
        self.records: dict[str, Any] = {}

    async def find(self, method: str, key: str, **_: object) -> Any:
        await asyncio.sleep(0)
        return self.records.get(key)

    async def commit(self, record: Any, distrusted: str = "") -> Any:
        return self.records.setdefault(record.job_key, record)


async def test_equal_requests_in_one_process_are_computed_once(store: ObjectStore, pool: FakePool) -> None:
    records = FakeRecords()
    execution = Execution(cast(Any, records), cast(ComputePool, pool), lambda _: store, "w")
    found = await asyncio.gather(*(execution.perform(METHODS[0], request(1)) for _ in range(10)))
    assert len(pool.calls) == 1
    assert len({record.response for record in found}) == 1
    assert (found[0].compute_seconds, found[0].attempt, found[0].worker) == (0.25, 1, "w")
    await execution.perform(METHODS[0], request(2))
    assert len(pool.calls) == 2
