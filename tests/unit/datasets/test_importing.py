"""Importing: what arrives in the store, that it arrives once, and that nothing arrives from a bad folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tessera.datasets.street.params import StreetParams
from tessera.datasets.street.write import make_street
from tessera.errors import BadInput
from tessera.formats.images import encode_png
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
