"""The data set of a round: images that joined stand behind those that the run has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_blobs import MemoryBlobs
from tessera.errors import BadInput
from tessera.formats.manifests import (
    ClassInfo,
    DatasetManifest,
    ImageItem,
    SeriesPlace,
    dataset_from_json,
    dataset_to_json,
)
from tessera.loop.recipe import EvaluationSet
from tessera.pb.common_pb2 import Dataset, ObjectRef
from tessera.runtime.setting_aside import set_aside
from tessera.runtime.taking import joined

CLASSES = (ClassInfo("road", (0, 0, 0)), ClassInfo("sky", (1, 1, 1)))


def item(name: str) -> ImageItem:
    ref = ObjectRef(bucket="s3://camera", key=f"day 1/{name}.jpg", sha256=name.encode().hex().zfill(64), size=1)
    return ImageItem(name, ref, 8, 6, "", 0.0)


def manifest(*train: str, val: tuple[str, ...] = (), number: int = 1) -> DatasetManifest:
    splits = {"train": tuple(map(item, train)), **({"val": tuple(map(item, val))} if val else {})}
    return DatasetManifest("camera-0", CLASSES, splits, series=SeriesPlace("camera", number, "0" * 64 * (number > 1)))


def ids(made: DatasetManifest, split: str) -> list[str]:
    return [one.image_id for one in made.split(split)]


def test_a_version_that_adds_behind_is_taken_as_it_is():
    after = manifest("a", "b", "c", number=2)
    assert joined(manifest("a", "b"), after, "v2") is after


def test_images_keep_their_places_and_the_evaluation_set_stays():
    made = joined(manifest("a", "c", val=("b",)), manifest("0", "a", "b", "c", "d", number=2), "v2")
    assert ids(made, "train") == ["a", "c", "0", "d"]
    assert ids(made, "val") == ["b"]
    assert made.series == SeriesPlace("camera", 2, "0" * 64)


@pytest.mark.parametrize(
    "after",
    [
        manifest("a", number=2),
        replace(manifest("a", "b", number=2), classes=CLASSES[:1]),
        replace(manifest(number=2), splits={"train": (item("a"), replace(item("b"), width=9))}),
    ],
    ids=["an image is missing", "other classes", "another image"],
)
def test_a_version_that_does_more_than_add_is_refused(after):
    with pytest.raises(BadInput, match="a version only adds images"):
        joined(manifest("a", "b"), after, "v2")


async def test_images_are_set_aside_as_a_split_of_their_own():
    store = MemoryBlobs()
    names = [f"i{number}" for number in range(30)]
    dataset = Dataset(manifest=store.write(dataset_to_json(manifest(*names))))
    made, sizes = await set_aside(store, dataset, EvaluationSet(images=7))
    found = dataset_from_json(store.read(made.manifest))
    assert sizes == {"train": 23, "val": 7}
    assert sorted([*ids(found, "train"), *ids(found, "val")]) == sorted(names)
    assert ids(found, "train") == [one for one in names if one not in ids(found, "val")]
    again, _ = await set_aside(store, dataset, EvaluationSet(images=7))
    assert again == made


async def test_some_images_must_be_left_to_learn_from():
    store = MemoryBlobs()
    dataset = Dataset(manifest=store.write(dataset_to_json(manifest("a", "b"))))
    with pytest.raises(BadInput, match=r"evaluation\.images: 2"):
        await set_aside(store, dataset, EvaluationSet(images=2))
