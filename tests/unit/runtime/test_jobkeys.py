"""Job keys: equal computations share one, different ones never do, and they do not move between versions."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.pb import (
    embedder_pb2,
    evaluator_pb2,
    oracle_pb2,
    partitioner_pb2,
    scorer_pb2,
    selector_pb2,
    trainer_pb2,
)
from tessera.pb.common_pb2 import AxisValue, Dataset, ImageRange, JobContext, ModelRef, ObjectRef, RegionShard
from tessera.runtime.jobkeys import canonical, job_key, record_key


def ref(name: str) -> ObjectRef:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ObjectRef(bucket="local", key=f"some/{name}", sha256=digest, size=len(name), media_type="image/png")


MANIFEST = ref("manifest")
SHARD = RegionShard(
    images=ImageRange(split="train", start=16, end=32), regions=ref("regions"), maps=ref("maps"), region_count=256
)
GRID = AxisValue(name="grid", parameters='{"cols":4,"rows":4}')
NETWORK = AxisValue(name="deeplabv3plus_mobilenetv2", parameters='{"output_stride":16}')
MODEL = ModelRef(architecture=NETWORK, classes=11, weights=ref("weights"))
ENTROPY = scorer_pb2.ScoreColumn(
    column="entropy_mean", score=AxisValue(name="entropy"), aggregation=AxisValue(name="mean")
)
FEATURES = embedder_pb2.FeatureShard(features=ref("features"), targets=ref("targets"))

REQUESTS: list[tuple[str, str, Message]] = [
    ("Partition", "1", partitioner_pb2.PartitionRequest(manifest=MANIFEST, images=SHARD.images, partition=GRID)),
    ("Partition", "2", partitioner_pb2.PartitionRequest(manifest=MANIFEST, images=SHARD.images, partition=GRID)),
    ("Partition", "1", partitioner_pb2.PartitionRequest(manifest=MANIFEST)),
    ("Partition", "1", partitioner_pb2.PartitionRequest()),
    ("Score", "1", scorer_pb2.ScoreRequest(manifest=MANIFEST, shard=SHARD, columns=[ENTROPY], seed=7)),
    ("Score", "1", scorer_pb2.ScoreRequest(manifest=MANIFEST, shard=SHARD, model=MODEL, columns=[ENTROPY], seed=7)),
    (
        "Score",
        "1",
        scorer_pb2.ScoreRequest(manifest=MANIFEST, shard=SHARD, model=ModelRef(), columns=[ENTROPY], seed=7),
    ),
    ("Score", "1", scorer_pb2.ScoreRequest(manifest=MANIFEST, shard=SHARD, seed=2**64 - 1)),
    ("Featurize", "1", embedder_pb2.FeaturizeRequest(manifest=MANIFEST, model=MODEL, targets=ref("t"), shards=[SHARD])),
    ("Fit", "1", embedder_pb2.FitRequest(shards=[FEATURES, FEATURES], projection=AxisValue(name="umap"), seed=1)),
    ("Project", "1", embedder_pb2.ProjectRequest(projection=ref("projection"), shards=[FEATURES], seed=1)),
    ("Select", "1", selector_pb2.SelectRequest(shards=[SHARD], stages=[AxisValue(name="top")], seed=3)),
    (
        "Select",
        "1",
        selector_pb2.SelectRequest(
            shards=[SHARD, SHARD],
            scores=[ref("a"), ref("b")],
            stages=[AxisValue(name="kmeans_plusplus")],
            budget=selector_pb2.Budget(unit="regions", amount=32),
        ),
    ),
    ("Select", "1", selector_pb2.SelectRequest(budget=selector_pb2.Budget(unit="fraction", amount=0.1))),
    ("Answer", "1", oracle_pb2.AnswerRequest(manifest=MANIFEST, selection=ref("s"), query=AxisValue(name="mask"))),
    ("Answer", "1", oracle_pb2.AnswerRequest(manifest=MANIFEST, selection=ref("s"), labels=ref("l"), seed=1)),
    ("Train", "1", trainer_pb2.TrainRequest(manifest=MANIFEST, ledgers=[ref("0"), ref("1")], architecture=NETWORK)),
    ("Train", "1", trainer_pb2.TrainRequest(manifest=MANIFEST, checkpoint_policy="best_val", val_labels=ref("v"))),
    ("Evaluate", "1", evaluator_pb2.EvaluateRequest(manifest=MANIFEST, images=SHARD.images, model=MODEL)),
    ("Evaluate", "1", evaluator_pb2.EvaluateRequest(images=ImageRange(split="prüfung \u2028", start=-1))),
]

# If one of these moves, every stored result of every user is computed again: bump an algorithm version instead.
GOLDEN = [
    "0673f2756df90d6813cfc35da44ecf4f651dff67b98bfdfc64c12e77b181e488",
    "4e943ae9b64d1d0e9beff2b22685c95521a9fe9cadd08988b9a19c5651335f00",
    "a8f5ca0197316d3d9ad1bf4c18846aae2cf6c05bc44dd79b2a0141c0152152e7",
    "759118d01ef9aa115724e3598b8496d253d8047f7f853924c9a6ae420a67b004",
    "f4930c9fd940f7d8a6ab8d02a67cd9176f70033b26215ae76893ee6474f57b21",
    "c7e9bd96d245bba32cf6c426629a9a72266cd453538aced067275f2619d091cc",
    "40e6cc25139b92e9e1ad81f97a2675b044fb60b31a7ae4df89ea9b0923c432f7",
    "c021d06d25518f68095a2d29c0b6ce96b8963fe4f7b9b9761669d0c71a96de17",
    "0b065edc5bdc5d2f2daf0ba98869d5647f20e13858f43281e4b7eb17c96a3327",
    "6510fc3d8496a67cc8c14c30ef274c4f7dc0d2ad9e4735a60ca9510133ea8376",
    "17c6a445ce4c3e5d44ce729225a3df89ba05c1ec1d6c45d07f3c0320a3167beb",
    "25b261a6e2df9b1f3e184c2e3dc0ea922734664d8949a10dfded0b24fe2053d6",
    "a5df4f488a98625b81c617e35a2e30340201fd48559b7efc2471bbbddce121e7",
    "48f492c037f80b9b79e0f1a8a10bce3ea7bdd076fa00ceea5e6a0472fea896b3",
    "c24a9681efd3483adaccde6db175f58d6d294c8e6ef0cefac94f572d8fc2ae59",
    "7fd81d284fc9b206fe4a28683d590215f2744178d2a1ee752d580288266e19d4",
    "f620eecedf0f20b0a0522e15df080de9a69249fd92f02b22d819f27da173501b",
    "b4fe94d68fddb7bfcffb511a8d5b6b189b6b8a869bc4e4d222b229b6ed56c333",
    "f90f087aee8901ed26ca6871247e6cdab691c7b27e133a2ae89031c29abb28d8",
    "6324274207dec4a9ae2049672864277586f34726ff4d5204bf4062b109a2737c",
]


@pytest.mark.parametrize("index", range(len(REQUESTS)))
def test_golden_keys(index: int) -> None:
    assert job_key(*REQUESTS[index]) == GOLDEN[index]


def test_the_key_is_the_sha256_of_canonical_json() -> None:
    """Written out by hand, so that another implementation can be made from this test."""
    request = scorer_pb2.ScoreRequest(context=JobContext(run_id="r"), manifest=ref("m"), columns=[ENTROPY], seed=7)
    document = {
        "algorithm": "1",
        "method": "Score",
        "request": {
            "columns": [{"aggregation": {"name": "mean"}, "column": "entropy_mean", "score": {"name": "entropy"}}],
            "manifest": {"media_type": "image/png", "sha256": hashlib.sha256(b"m").hexdigest(), "size": 1},
            "seed": 7,
        },
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert job_key("Score", "1", request) == hashlib.sha256(text.encode()).hexdigest()


def test_all_golden_keys_differ() -> None:
    assert len(set(GOLDEN)) == len(GOLDEN) == 20


def test_provenance_and_place_do_not_count() -> None:
    request = scorer_pb2.ScoreRequest(manifest=MANIFEST, shard=SHARD, seed=7)
    key = job_key("Score", "1", request)
    request.context.CopyFrom(JobContext(run_id="another", round=3, step="score", shard=2))
    assert job_key("Score", "1", request) == key
    request.manifest.bucket = "elsewhere"
    request.shard.maps.key = "moved/maps"
    assert job_key("Score", "1", request) == key


def test_method_and_algorithm_count() -> None:
    request = partitioner_pb2.PartitionRequest(manifest=MANIFEST)
    keys = {job_key(m, a, request) for m in ("Partition", "Score") for a in ("1", "2", "11")}
    assert len(keys) == 6
    assert job_key("A", "1/A", request) != job_key("A1", "/A", request)


def test_map_order_does_not_count() -> None:
    names = [f"split{i}" for i in range(20)]
    keys = set()
    for seed in range(5):
        random.Random(seed).shuffle(names)
        data = Dataset(manifest=MANIFEST)
        for name in names:
            data.labels[name].CopyFrom(ref(name))
        keys.add(job_key("Import", "1", data))
    assert len(keys) == 1


def test_order_of_repeated_fields_counts() -> None:
    forwards = trainer_pb2.TrainRequest(ledgers=[ref("0"), ref("1")])
    backwards = trainer_pb2.TrainRequest(ledgers=[ref("1"), ref("0")])
    assert job_key("Train", "1", forwards) != job_key("Train", "1", backwards)


def test_bytes_on_the_wire_do_not_count() -> None:
    """The same fields in another wire order are the same request."""
    request = REQUESTS[5][2]
    assert isinstance(request, scorer_pb2.ScoreRequest)
    again = scorer_pb2.ScoreRequest()
    for field, value in reversed(request.ListFields()):
        part = scorer_pb2.ScoreRequest()
        if field.is_repeated:
            getattr(part, field.name).extend(value)
        elif field.message_type is not None:
            getattr(part, field.name).CopyFrom(value)
        else:
            setattr(part, field.name, value)
        again.MergeFromString(part.SerializeToString())
    assert job_key("Score", "1", again) == job_key("Score", "1", request)


def _changes(message: Message, path: str = "") -> list[tuple[str, Message]]:
    """Copies of the message, each changed in one scalar field (also in fields that are not set)."""
    found: list[tuple[str, Message]] = []
    for field in message.DESCRIPTOR.fields:
        name = f"{path}.{field.name}"
        if field.is_repeated:
            if field.message_type is None:
                continue
            for index, item in enumerate(getattr(message, field.name)):
                for where, changed in _changes(item, f"{name}[{index}]"):
                    copy = _copy(message)
                    getattr(copy, field.name)[index].CopyFrom(changed)
                    found.append((where, copy))
        elif field.message_type is not None:
            for where, changed in _changes(getattr(message, field.name), name):
                copy = _copy(message)
                getattr(copy, field.name).CopyFrom(changed)
                found.append((where, copy))
        else:
            copy = _copy(message)
            setattr(copy, field.name, _other(field, getattr(message, field.name)))
            found.append((name, copy))
    return found


def _copy(message: Message) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _other(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, str):
        return value + "x"
    return value - 1 if value == 2**64 - 1 else value + 1


@pytest.mark.parametrize(("method", "algorithm", "request_"), REQUESTS)
def test_every_field_counts_but_provenance_and_place(method: str, algorithm: str, request_: Message) -> None:
    key = job_key(method, algorithm, request_)
    seen = {key}
    for where, changed in _changes(request_):
        other = job_key(method, algorithm, changed)
        if where.startswith(".context."):
            assert (where, other) == (where, key)
        elif where.endswith((".bucket", ".key")):
            # An absent reference that gets a place becomes a present, empty one.
            assert other == key or not _reference_is_set(request_, where)
        else:
            assert other not in seen, where
            seen.add(other)


def _reference_is_set(message: Any, path: str) -> bool:
    for part in path.strip(".").split(".")[:-1]:
        name, _, index = part.partition("[")
        if not index and not message.HasField(name):
            return False
        message = getattr(message, name)
        if index:
            message = message[int(index[:-1])]
    return True


def test_numbers_are_written_exactly() -> None:
    big = scorer_pb2.ScoreRequest(seed=2**64 - 1)
    assert canonical(big) == {"seed": 2**64 - 1}
    assert canonical(selector_pb2.Budget(amount=0.1)) == {"amount": "0.1"}
    assert canonical(selector_pb2.Budget(amount=float("nan"))) == {"amount": "nan"}


def test_record_key() -> None:
    assert record_key("Score", GOLDEN[0]) == f"jobs/Score/{GOLDEN[0]}.json"
    for method, key in (("Score", "abc"), ("../x", GOLDEN[0]), ("", GOLDEN[0]), ("Score", "../" + GOLDEN[0][3:])):
        with pytest.raises(BadInput):
            record_key(method, key)
