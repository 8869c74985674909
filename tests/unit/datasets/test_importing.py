"""Importing: objects arrive in the store, once, and none arrives from a bad folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dataset_trees import colours, image
from tessera.datasets.definitions import camvid
from tessera.datasets.street.params import StreetParams
from tessera.datasets.street.write import make_street
from tessera.errors import BadInput
from tessera.formats.images import decode_labels, encode_png
from tessera.formats.manifests import dataset_from_json, labels_from_json
from tessera.pb.common_pb2 import ImageRange, ObjectRef
from tessera.runtime.importing import import_dataset


class MemoryStore:
    """An object store that counts."""

    bucket = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        self.puts.append(key)
        self.objects[key] = data
        found = await self.exists(key)
        assert found is not None
        return found

    async def exists(self, key: str) -> ObjectRef | None:
        if key not in self.objects:
            return None
        data = self.objects[key]
        return ObjectRef(bucket="memory", key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


@pytest.fixture
def street(tmp_path: Path) -> Path:
    return make_street(tmp_path / "s", StreetParams(height=40, width=56, train=2, val=1, test=1, frames=3))


async def test_everything_arrives_and_references_fit(street: Path) -> None:
    store = MemoryStore()
    steps: list[tuple[int, int, str]] = []
    dataset, manifest = await import_dataset(store, street, None, lambda *step: steps.append(step))
    assert dataset_from_json(store.objects[dataset.manifest.key]) == manifest
    assert dataset.manifest.key == f"datasets/{manifest.name}/manifest.json"
    assert manifest.name.startswith("street-")
    assert {split: len(items) for split, items in manifest.splits.items()} == {"train": 6, "val": 3, "test": 3}
    references = [dataset.manifest, *dataset.labels.values()]
    for split in manifest.splits:
        labels = labels_from_json(store.objects[dataset.labels[split].key])
        assert list(labels.labels) == [item.image_id for item in manifest.splits[split]]
        references += [*labels.labels.values(), *[item.image for item in manifest.splits[split]]]
    for reference in references:
        data = store.objects[reference.key]
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (reference.sha256, reference.size)
    assert len(references) == len(store.objects) == 2 * 12 + 3 + 1
    (item,) = manifest.items(ImageRange(split="train", start=4, end=5))
    assert (item.image_id, item.sequence, item.time) == ("train001_000001", "train001", 0.1)
    assert (item.width, item.height) == (56, 40)
    assert item.image.media_type == "image/jpeg"
    assert steps[-1] == (12, 12, "upload")
    assert (12, 12, "check") in steps


async def test_the_second_import_uploads_nothing(street: Path) -> None:
    store = MemoryStore()
    first = await import_dataset(store, street)
    store.puts.clear()
    assert await import_dataset(store, street) == first
    assert store.puts == []


async def test_an_interrupted_import_is_completed(street: Path) -> None:
    store = MemoryStore()
    dataset, manifest = await import_dataset(store, street)
    lost = manifest.splits["val"][1].image.key
    del store.objects[dataset.manifest.key], store.objects[lost]
    store.puts.clear()
    await import_dataset(store, street)
    assert lost in store.puts
    assert store.puts[-1] == dataset.manifest.key
    assert not [key for key in store.puts if "/images/train/" in key]


async def test_changed_content_is_another_data_set(street: Path) -> None:
    store = MemoryStore()
    _, before = await import_dataset(store, street)
    (street / "labels/train/train000_000000.png").write_bytes(encode_png(np.zeros((40, 56), np.uint8)))
    _, after = await import_dataset(store, street)
    assert after.name != before.name


async def test_all_problems_of_a_folder_at_once_and_nothing_uploaded(street: Path) -> None:
    train = sorted((street / "images/train").iterdir())
    train[0].write_bytes(train[0].read_bytes()[:-300])
    train[1].write_bytes(b"")
    labels = street / "labels/train"
    wrong = np.zeros((40, 56), np.uint8)
    wrong[3, 4] = 11
    (labels / f"{train[2].stem}.png").write_bytes(encode_png(wrong))
    (labels / f"{train[3].stem}.png").write_bytes(encode_png(np.zeros((40, 57), np.uint8)))
    (labels / f"{train[4].stem}.png").unlink()
    store = MemoryStore()
    with pytest.raises(BadInput) as caught:
        await import_dataset(store, street)
    text = str(caught.value)
    assert "5 problems" in text.splitlines()[0]
    for words in (
        f"{train[0]}: the image is truncated",
        f"{train[1]}: the file is empty",
        "class value 11 at row 3, column 4",
        "the label map is 57×40 pixels but its image is 56×40",
        f"{train[4]}: has no label map",
    ):
        assert words in text
    assert store.objects == {}


async def test_ignore_index_of_the_folder_counts(street: Path) -> None:
    path = street / "classes.json"
    top = json.loads(path.read_text())
    path.write_text(json.dumps({**top, "ignore_index": 200}))
    with pytest.raises(BadInput, match=r"class value 255 .*0 to 10 and 200"):
        await import_dataset(MemoryStore(), street)


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    folder = tmp_path / "camvid"
    values = [colour for colour, _ in camvid.ORIGINAL.values()]
    for name in ("0006R0_f00930", "0016E5_07959", "Seq05VD_f00000"):
        image(folder / "701_StillsRaw_full" / f"{name}.png", (4, 8))
        colours(folder / "LabeledApproved_full" / f"{name}_L.png", values, (4, 8))
    return folder


async def test_colours_arrive_as_class_indices_and_once(coloured: Path) -> None:
    store = MemoryStore()
    dataset, manifest = await import_dataset(store, coloured)
    (item,) = manifest.splits["val"]
    assert (item.sequence, item.time) == ("0016E5", 7959 / 30)
    reference = labels_from_json(store.objects[dataset.labels["val"].key]).labels[item.image_id]
    data = store.objects[reference.key]
    assert (reference.sha256, reference.size) == (hashlib.sha256(data).hexdigest(), len(data))
    expected = [index for _, index in camvid.ORIGINAL.values()]
    assert decode_labels(data, "label", 11, shape=(4, 8)).ravel().tolist() == expected
    store.puts.clear()
    assert await import_dataset(store, coloured) == (dataset, manifest)
    assert store.puts == []


async def test_settings_of_the_layout_count(coloured: Path) -> None:
    _, manifest = await import_dataset(MemoryStore(), coloured, "camvid_original", settings={"grouping": 32})
    assert len(manifest.classes) == 31
    with pytest.raises(BadInput, match=r"layout\.camvid_original\.grouping"):
        await import_dataset(MemoryStore(), coloured, settings={"grouping": 12})


async def test_wrong_colours_and_sizes_are_all_named_and_nothing_is_uploaded(coloured: Path) -> None:
    labels = coloured / "LabeledApproved_full"
    colours(labels / "0006R0_f00930_L.png", [(0, 0, 0), (9, 9, 9)], (4, 8))
    colours(labels / "0016E5_07959_L.png", [(0, 0, 0)], (4, 9))
    store = MemoryStore()
    with pytest.raises(BadInput) as caught:
        await import_dataset(store, coloured)
    for words in (
        f"{labels / '0006R0_f00930_L.png'}: colour (9, 9, 9) at row 0, column 1 (31 such pixels)",
        f"{labels / '0016E5_07959_L.png'}: the label map is 9×4 pixels but its image is 8×4",
    ):
        assert words in str(caught.value)
    assert store.objects == {}


async def test_images_of_train_may_wait_for_people(street: Path) -> None:
    labelled, _ = await import_dataset(MemoryStore(), street)
    maps = sorted((street / "labels" / "train").iterdir())
    for path in maps[1:]:
        path.unlink()
    with pytest.raises(BadInput, match="has no label map"):
        await import_dataset(MemoryStore(), street)
    store = MemoryStore()
    dataset, manifest = await import_dataset(store, street, "native", settings={"unlabelled": True})
    assert [item.image_id for item in manifest.splits["train"]] == sorted(path.stem for path in maps)
    known = labels_from_json(store.objects[dataset.labels["train"].key])
    assert list(known.labels) == [maps[0].stem]
    assert dataset.manifest.key != labelled.manifest.key
    (street / "labels" / "train" / maps[0].name).unlink()
    (street / "labels" / "train").rmdir()
    dataset, manifest = await import_dataset(store, street, "native", settings={"unlabelled": True})
    assert set(dataset.labels) == {"val", "test"}
    assert not [key for key in store.objects if f"{manifest.name}/labels/train" in key]
    # What is measured on needs its truth.
    next((street / "labels" / "val").iterdir()).unlink()
    with pytest.raises(BadInput, match="has no label map"):
        await import_dataset(MemoryStore(), street, "native", settings={"unlabelled": True})
