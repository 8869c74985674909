"""Look-ups from manifests and tables to references, checked against the tables themselves."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tessera.errors import BadInput
from tessera.formats import manifests, schemas, tables
from tessera.pb.common_pb2 import ImageRange, ObjectRef, RegionShard
from tessera.runtime import inputs


class FakeContext:
    """Holds bytes by hash and counts fetches."""

    job_key = "k"
    attempt = 1

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fetched: list[str] = []

    def put(self, data: bytes) -> ObjectRef:
        digest = hashlib.sha256(data).hexdigest()
        self.objects[digest] = data
        key = f"cas/sha256/{digest[:2]}/{digest[2:]}"
        return ObjectRef(bucket="b", key=key, sha256=digest, size=len(data), media_type="x/y")

    async def fetch(self, ref: ObjectRef) -> bytes:
        self.fetched.append(ref.sha256)
        return self.objects[ref.sha256]

    async def compute(self, *_: object) -> None:  # type: ignore[override]
        raise AssertionError("a look-up computes nothing")


IDS = ["a", "b", "c", "d"]


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


def _dataset(context: FakeContext) -> tuple[ObjectRef, dict[str, ObjectRef]]:
    refs = {image_id: context.put(f"image {image_id}".encode()) for image_id in IDS}
    items = tuple(manifests.ImageItem(image_id, refs[image_id], 4, 3, "s", 0.0) for image_id in IDS)
    manifest = manifests.DatasetManifest("toy", (manifests.ClassInfo("road", (1, 2, 3)),), {"train": items})
    return context.put(manifests.dataset_to_json(manifest)), refs


def _maps(context: FakeContext, ids: list[str]) -> tuple[RegionShard, list[ObjectRef]]:
    refs = [context.put(f"map {image_id}".encode()) for image_id in ids]
    columns = {
        "image_id": ids,
        **{name: [getattr(ref, name) for ref in refs] for name in ("bucket", "key", "sha256", "size", "media_type")},
        "height": [3] * len(ids),
        "width": [4] * len(ids),
    }
    return RegionShard(maps=context.put(tables.write(schemas.MAPS, columns))), refs


async def test_images_of_a_range_and_by_id(context: FakeContext) -> None:
    manifest, refs = _dataset(context)
    found = await inputs.images(context, manifest, ImageRange(split="train", start=1, end=3))
    assert found == [refs["b"], refs["c"]]
    assert await inputs.images_by_id(context, manifest, "train", ["d", "a"]) == [refs["d"], refs["a"]]
    with pytest.raises(BadInput, match="no image 'z'"):
        await inputs.images_by_id(context, manifest, "train", ["z"])
    with pytest.raises(BadInput, match=r"\[1, 9\)"):
        await inputs.images(context, manifest, ImageRange(split="train", start=1, end=9))


async def test_every_look_up_asks_the_context_so_that_its_policy_decides(context: FakeContext) -> None:
    manifest, _ = _dataset(context)
    await inputs.images(context, manifest, ImageRange(split="train", start=0, end=1))
    await inputs.images(context, manifest, ImageRange(split="train", start=0, end=1))
    assert context.fetched == [manifest.sha256] * 2


async def test_labels_by_id(context: FakeContext) -> None:
    refs = {image_id: context.put(f"label {image_id}".encode()) for image_id in IDS}
    manifest = context.put(manifests.labels_to_json(manifests.LabelManifest("train", refs)))
    assert await inputs.labels(context, manifest, ["c", "a"]) == [refs["c"], refs["a"]]
    with pytest.raises(BadInput, match="'z'"):
        await inputs.labels(context, manifest, ["z"])


async def test_maps_of_shards(context: FakeContext) -> None:
    first, one = _maps(context, ["a", "b"])
    second, two = _maps(context, ["c"])
    assert await inputs.maps(context, [first, second]) == [*one, *two]
    assert await inputs.maps(context, [first, second], ["c", "a", "c"]) == [two[0], one[0]]
    with pytest.raises(BadInput, match="'z'"):
        await inputs.maps(context, [first], ["z"])


async def test_answers_of_ledgers_leave_out_rows_without_an_object(context: FakeContext) -> None:
    answer = context.put(b"answer")
    refs = [answer, ObjectRef()]
    columns: dict[str, object] = {}
    for field in schemas.LEDGER:
        if field.name.startswith("answer_"):
            columns[field.name] = [getattr(ref, field.name.removeprefix("answer_")) for ref in refs]
        elif field.name == "classes":
            columns[field.name] = [[1], [2]]
        else:
            columns[field.name] = ["x", "x"] if str(field.type) == "string" else np.zeros(2)
    ledger = context.put(tables.write(schemas.LEDGER, columns))  # type: ignore[arg-type]
    assert await inputs.answers(context, [ledger, ledger]) == [answer, answer]
