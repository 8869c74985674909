"""Data sets of classification: CIFAR's binary files and folders of classes, read, imported, and refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tessera.datasets.checking import check_headers
from tessera.datasets.contents import image_bytes, label_bytes, square
from tessera.datasets.layouts import LAYOUTS
from tessera.datasets.making import make_pool
from tessera.datasets.reader import detect_layout, read_dataset
from tessera.datasets.samples import Problems
from tessera.errors import BadInput
from tessera.formats.images import decode_labels, decode_rgb, encode_jpeg, encode_png
from tessera.formats.manifests import dataset_from_json, dataset_to_json, labels_from_json
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.importing import import_dataset

NAMES = ("plane", "cat", "ship")


def rgb(row: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (side, side, 3), dtype=np.uint8)


def record(row: int, *labels: int) -> bytes:
    """A record as Krizhevsky describes it: label bytes, then 1,024 bytes each of red, green and blue, row by row."""
    image = rgb(row)
    planes = b"".join(bytes(image[y, x, channel] for y in range(32) for x in range(32)) for channel in range(3))
    return bytes(labels) + planes


def cifar10(folder: Path, train: int = 4, test: int = 2) -> Path:
    at = folder / "cifar-10-batches-bin"
    at.mkdir(parents=True)
    for number in range(1, 6):
        rows = range(number * 100, number * 100 + train)
        (at / f"data_batch_{number}.bin").write_bytes(b"".join(record(row, row % 3) for row in rows))
    (at / "test_batch.bin").write_bytes(b"".join(record(900 + row, row % 3) for row in range(test)))
    (at / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return at


def cifar100(folder: Path, train: int = 6, test: int = 2) -> Path:
    at = folder / "cifar-100-binary"
    at.mkdir(parents=True)
    for name, rows in (("train.bin", range(train)), ("test.bin", range(train, train + test))):
        (at / name).write_bytes(b"".join(record(row, row % 2, row % 3) for row in rows))
    (at / "fine_label_names.txt").write_text("\n".join(NAMES) + "\n")
    (at / "coarse_label_names.txt").write_text("sky\nwater\n")
    return at


def class_folders(folder: Path, sizes: tuple[tuple[int, int], ...] = ((20, 20),)) -> Path:
    number = 0
    for split, count in (("train", 3), ("test", 1)):
        for name in ("b cat", "a dog"):
            for row in range(count):
                path = folder / split / name / f"{row:03d}.{'png' if row % 2 else 'jpg'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = np.full((*sizes[number % len(sizes)], 3), 40 * row, np.uint8)
                path.write_bytes(encode_png(image) if row % 2 else encode_jpeg(image))
                number += 1
    return folder


def test_cifar10_is_read_record_by_record(tmp_path: Path) -> None:
    at = cifar10(tmp_path)
    for folder in (tmp_path, at):  # the folder of the archive, or the one above it
        assert detect_layout(folder) == "cifar"
    source = read_dataset(tmp_path)
    assert (source.name, source.layout, source.classes.task) == ("cifar10", "cifar", "classification")
    assert [info.name for info in source.classes.classes] == list(NAMES)
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 20, "test": 2}
    sample = source.splits["train"][5]
    assert (sample.image_id, sample.label, sample.sequence) == ("data_batch_2-00001", 201 % 3, "")
    assert np.array_equal(decode_rgb(image_bytes(sample), "image"), rgb(201))
    truth = decode_labels(label_bytes(sample, source, (32, 32)), "label", 3, shape=(32, 32))
    assert np.array_equal(truth, np.full((32, 32), 201 % 3))
    problems = Problems("here")
    check_headers(source, problems)
    assert not problems.found


@pytest.mark.parametrize(("make", "name"), [(cifar10, "cifar"), (cifar100, "cifar"), (class_folders, "class_folders")])
def test_a_layout_is_found_out_and_is_the_only_one(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    make(tmp_path)
    assert [other for other in LAYOUTS.names() if LAYOUTS.entry(other).traits.detect(tmp_path)] == [name]


@pytest.mark.parametrize(("labels", "expected"), [("fine", [0, 1, 2, 0, 1, 2]), ("coarse", [0, 1, 0, 1, 0, 1])])
def test_cifar100_has_two_kinds_of_labels(tmp_path: Path, labels: str, expected: list[int]) -> None:
    source = read_dataset(cifar100(tmp_path), settings={"labels": labels})
    assert [sample.label for sample in source.splits["train"]] == expected
    assert len(source.classes.classes) == len(set(expected))
    assert np.array_equal(decode_rgb(image_bytes(source.splits["test"][1]), "image"), rgb(7))


def test_val_may_be_held_out(tmp_path: Path) -> None:
    source = read_dataset(cifar100(tmp_path), settings={"val": 2})
    assert [one.image_id for one in source.splits["val"]] == ["train-00004", "train-00005"]
    assert {one.split for one in source.splits["val"]} == {"val"}
    assert len(source.splits["train"]) == 4
    with pytest.raises(BadInput, match=r"val=6 leaves none of the 6 training images"):
        read_dataset(tmp_path, settings={"val": 6})


def test_what_is_wrong_with_a_cifar_file_is_said_by_name(tmp_path: Path) -> None:
    at = cifar10(tmp_path)
    broken = at / "data_batch_2.bin"
    broken.write_bytes(broken.read_bytes()[:-7])
    (at / "data_batch_4.bin").unlink()
    (at / "test_batch.bin").write_bytes(record(1, 9))
    with pytest.raises(BadInput) as caught:
        read_dataset(tmp_path)
    text = str(caught.value)
    assert "data_batch_2.bin: 12,285 bytes are no whole number of cifar10's records of 3,073 bytes" in text
    assert "data_batch_4.bin: missing; unpack the archive" in text
    assert "test_batch.bin: record 0 has label 9, but there are 3 classes" in text
    with pytest.raises(BadInput, match="one kind of label; leave labels out"):
        read_dataset(tmp_path, settings={"labels": "coarse"})
    (at / "batches.meta.txt").unlink()
    with pytest.raises(BadInput, match=r"batches\.meta\.txt: missing"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("folder", "file", "meta"),
    [("cifar-10-batches-py", "data_batch_1", "batches.meta"), ("cifar-100-python", "train", "meta")],
)
def test_pickles_are_never_read(tmp_path: Path, folder: str, file: str, meta: str) -> None:
    at = tmp_path / folder
    at.mkdir()
    for name in (file, meta):
        # A pickle that would write a file when it is read.
        (at / name).write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    for where in (tmp_path, at):
        assert detect_layout(where) == "cifar"
        with pytest.raises(BadInput, match=rf"{file}: the Python version .* pickles.*download the binary version"):
            read_dataset(where)
    assert not (tmp_path / "ran").exists()


def test_a_folder_is_a_class(tmp_path: Path) -> None:
    source = read_dataset(class_folders(tmp_path / "Pets"))
    assert (source.name, source.layout, source.classes.task) == ("Pets", "class_folders", "classification")
    assert [info.name for info in source.classes.classes] == ["a dog", "b cat"]
    found = {sample.image_id: sample.label for sample in source.splits["train"]}
    assert found == {
        f"train-{name}-{row:03d}": label for label, name in enumerate(("a_dog", "b_cat")) for row in range(3)
    }
    sample = source.splits["test"][0]
    assert image_bytes(sample) == sample.image_path.read_bytes()  # untouched
    order = tmp_path / "order.txt"
    order.write_text("b cat\na dog\n")
    turned = read_dataset(tmp_path / "Pets", settings={"classes": str(order)})
    assert {sample.image_id: sample.label for sample in turned.splits["train"]}["train-a_dog-000"] == 1


def test_images_of_a_folder_need_one_size_or_get_it(tmp_path: Path) -> None:
    class_folders(tmp_path / "Pets", sizes=((20, 20), (30, 60)))
    with pytest.raises(BadInput, match=r"20×20 pixels, but .* has 60×30.* set size=N"):
        read_dataset(tmp_path / "Pets")
    source = read_dataset(tmp_path / "Pets", settings={"size": 16})
    for sample in source.splits["train"]:
        assert decode_rgb(image_bytes(sample), "image").shape == (16, 16, 3)


def test_the_middle_square_is_cut_out() -> None:
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, 15:25] = 200
    assert np.array_equal(square(image, 10), np.full((10, 10, 3), 200))
    assert square(np.zeros((7, 5, 3), np.uint8), 32).shape == (32, 32, 3)


def test_what_is_wrong_with_folders_is_said_by_name(tmp_path: Path) -> None:
    at = class_folders(tmp_path / "Pets")
    (at / "test" / "bird").mkdir()
    (at / "train" / "a dog" / "notes.txt").write_text("x")
    (at / "train" / "a dog" / "001.jpg").write_bytes(encode_jpeg(np.zeros((20, 20, 3), np.uint8)))
    with pytest.raises(BadInput) as caught:
        read_dataset(at)
    text = str(caught.value)
    assert "'bird' is no class of the data set (a dog, b cat" in text
    assert "notes.txt: not a PNG or JPEG file" in text
    assert "image id 'train-a_dog-001' is taken by" in text


class Store:
    """The part of a store that an import needs."""

    bucket = "b"

    def __init__(self) -> None:
        self.by_key: dict[str, bytes] = {}

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        self.by_key[key] = data
        return ObjectRef(key=key, size=len(data))

    async def exists(self, key: str) -> ObjectRef | None:
        return None


async def test_an_import_stores_one_class_everywhere_and_the_task(tmp_path: Path) -> None:
    cifar10(tmp_path)
    store = Store()
    dataset, manifest = await import_dataset(store, tmp_path)
    assert manifest.task == "classification"
    assert manifest.name.startswith("cifar10-")
    assert dataset_from_json(store.by_key[dataset.manifest.key]) == manifest
    assert json.loads(dataset_to_json(manifest))["task"] == "classification"
    labels = labels_from_json(store.by_key[dataset.labels["train"].key])
    assert len(labels.labels) == 20
    for at, item in enumerate(manifest.splits["train"]):
        number, row = divmod(at, 4)
        row += (number + 1) * 100
        assert np.array_equal(decode_rgb(store.by_key[item.image.key], "image"), rgb(row))
        truth = decode_labels(store.by_key[labels.label(item.image_id).key], "label", 3, shape=(32, 32))
        assert np.unique(truth).tolist() == [row % 3]


async def test_a_native_data_set_of_classification_keeps_one_class_an_image(tmp_path: Path) -> None:
    cifar10(tmp_path / "in")
    copied = make_pool("copy", tmp_path / "in", tmp_path / "out", {})
    assert json.loads((copied / "classes.json").read_text())["task"] == "classification"
    _, manifest = await import_dataset(Store(), copied)
    assert (manifest.task, len(manifest.splits["train"])) == ("classification", 20)
    label = sorted((copied / "labels" / "train").iterdir())[0]
    several = np.zeros((32, 32), np.uint8)
    several[0, 0] = 2
    label.write_bytes(encode_png(several))
    with pytest.raises(BadInput, match=rf"{label.name}: has classes 0, 2, .* task is classification"):
        await import_dataset(Store(), copied)


def test_an_imbalanced_pool_thins_classes_by_their_ratio(tmp_path: Path) -> None:
    cifar10(tmp_path / "in", train=12)
    counts = []
    for seed in (1, 1, 2, 3):
        made = make_pool("imbalanced", tmp_path / "in", tmp_path / f"{len(counts)}", {"ratios": [0.1, 0.5, 1.0]}, seed)
        source = read_dataset(made)
        assert source.name == "cifar10-imbalanced"
        found = [np.unique(decode_labels(one.label_path.read_bytes(), "label"))[0] for one in source.splits["train"]]
        counts.append((np.bincount(found, minlength=3).tolist(), [one.image_id for one in source.splits["train"]]))
        assert len(source.splits["test"]) == 2
    assert counts[0] == counts[1]
    assert len({tuple(ids) for _, ids in counts}) > 1
    for per_class, _ in counts:
        assert sorted(per_class) == [2, 10, 20]  # of 20 images each
    with pytest.raises(BadInput, match="3 classes cannot be divided evenly among 2 ratios"):
        make_pool("imbalanced", tmp_path / "in", tmp_path / "bad", {"ratios": [0.1, 1.0]})
    with pytest.raises(BadInput, match="above 0, at most 1"):
        make_pool("imbalanced", tmp_path / "in", tmp_path / "worse", {"ratios": [0.1, 2.0, 1.0]})
