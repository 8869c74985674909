"""Folder readers: what they find, and one clear message for everything that is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tessera.datasets.reader import detect_layout, read_dataset
from tessera.datasets.samples import Problems, read_classes, video_place
from tessera.errors import BadInput
from tessera.formats.images import encode_jpeg, encode_png

_CLASSES = {"classes": [{"index": 0, "name": "road", "color": [1, 2, 3]}, {"index": 1, "name": "sky"}]}


def _write(folder: Path, labels: str, *names: str) -> None:
    for name in names:
        for path, data in (
            (folder / "images" / f"{name}.jpg", encode_jpeg(np.zeros((4, 6, 3), np.uint8))),
            (folder / labels / f"{name}.png", encode_png(np.zeros((4, 6), np.uint8))),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


@pytest.fixture
def native(tmp_path: Path) -> Path:
    folder = tmp_path / "Mine"
    _write(folder, "labels", "train/a_000030", "train/a_f00060", "val/b", "test/c_9")
    (folder / "classes.json").write_text(json.dumps(_CLASSES))
    return folder


def test_native(native: Path) -> None:
    source = read_dataset(native)
    assert (source.name, source.layout) == ("Mine", "native")
    assert [(s.image_id, s.sequence, s.time) for s in source.splits["train"]] == [
        ("a_000030", "a", 1.0),
        ("a_f00060", "a", 2.0),
    ]
    assert (source.splits["val"][0].sequence, source.splits["val"][0].time) == ("", 0.0)
    assert source.splits["test"][0].label_path == native / "labels/test/c_9.png"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("0006R0_f00930", ("0006R0", 31.0)),
        ("0001TP_006690", ("0001TP", 223.0)),
        ("a_b_f3", ("a_b", 0.1)),
        ("still", ("", 0.0)),
        ("2026", ("", 0.0)),
        ("a_3x", ("", 0.0)),
    ],
)
def test_video_names(name: str, place: tuple[str, float]) -> None:
    assert video_place(name, 30) == place


def test_frames_file_decides_instead_of_names(native: Path) -> None:
    (native / "frames.json").write_text(
        json.dumps({"b": {"sequence": "v", "time": 2}, "a_f00060": {"sequence": "w", "time": 0.5}})
    )
    source = read_dataset(native)
    assert {s.image_id: (s.sequence, s.time) for of in source.splits.values() for s in of} == {
        "a_000030": ("", 0.0), "a_f00060": ("w", 0.5), "b": ("v", 2.0), "c_9": ("", 0.0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "not an object"),
        ('{"b": 1}', "b: 1 is not"),
        ('{"b": {"sequence": "v"}}', "b: .* is not"),
        ('{"b": {"sequence": "v", "time": true}}', "b: .* is not"),
        ('{"b": {"sequence": "v", "time": Infinity}}', "b: .* is not"),
    ],
)
def test_frames_files_that_are_wrong(native: Path, content: str, words: str) -> None:
    (native / "frames.json").write_text(content)
    with pytest.raises(BadInput, match=rf"frames\.json: {words}"):
        read_dataset(native)


def test_plain_folders_by_sub_folder(tmp_path: Path) -> None:
    _write(tmp_path, "masks", "train/a_1", "train/b_2", "val/c")
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    source = read_dataset(tmp_path)
    assert source.layout == "folders"
    assert [info.name for info in source.classes.classes] == ["road", "sky"]
    assert {split: [s.image_id for s in of] for split, of in source.splits.items()} == {
        "train": ["a_1", "b_2"],
        "val": ["c"],
    }
    assert source.splits["train"][0].sequence == ""


@pytest.mark.parametrize("where", [".", "splits"])
def test_plain_folders_by_list(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "d"
    _write(folder, "masks", "a", "b", "c", "unused")
    (folder / where).mkdir(exist_ok=True)
    (folder / where / "train.txt").write_text("b\nimages/a.jpg\n\n")
    (folder / where / "val.txt").write_text("c.jpg\r\n")
    (tmp_path / "k.json").write_text(json.dumps(_CLASSES))
    source = read_dataset(folder, settings={"classes": tmp_path / "k.json"})
    assert {split: [s.image_id for s in of] for split, of in source.splits.items()} == {
        "train": ["b", "a"],
        "val": ["c"],
    }


def test_lists_that_are_wrong(tmp_path: Path) -> None:
    _write(tmp_path, "masks", "a", "b")
    (tmp_path / "classes.json").write_text(json.dumps(_CLASSES))
    (tmp_path / "train.txt").write_text("a\na\nnope\n")
    (tmp_path / "val.txt").write_text("a\n")
    (tmp_path / "test.txt").write_text("\n")
    problems = Problems(str(tmp_path))
    read_dataset(tmp_path, problems=problems)
    text = "\n".join(problems.found)
    for words in ("line 2: 'a' is listed twice", "line 3: 'nope' is not in", "also in train", "names no image"):
        assert words in text


def test_missing_folder_and_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        read_dataset(tmp_path / "nope")
    (tmp_path / "pics").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="not a folder"):
        detect_layout(tmp_path / "file")
    with pytest.raises(BadInput) as caught:
        detect_layout(tmp_path)
    for words in ("Looked for native: images/SPLIT/", "folders: images/ and masks/", "Found file, pics"):
        assert words in str(caught.value)
    with pytest.raises(BadInput, match="not of layout native"):
        read_dataset(tmp_path, "native")
    with pytest.raises(BadInput, match=r"unknown name 'natve'; did you mean .*native"):
        read_dataset(tmp_path, "natve")


def test_no_classes(tmp_path: Path) -> None:
    _write(tmp_path, "masks", "train/a")
    with pytest.raises(BadInput, match=r"neither classes\.json nor classes\.txt.*--set classes=FILE"):
        read_dataset(tmp_path)


def _image_without_label(folder: Path) -> str:
    (folder / "labels/train/a_000030.png").unlink()
    return r"images/train/a_000030\.jpg: has no label map .*labels/train/a_000030\.png"


def _label_without_image(folder: Path) -> str:
    (folder / "images/train/a_000030.jpg").unlink()
    return r"labels/train/a_000030\.png: a label map without its image"


def _empty_split(folder: Path) -> str:
    (folder / "images/extra").mkdir()
    return "images/extra: no images"


def _no_labels_of_split(folder: Path) -> str:
    (folder / "labels/val").rename(folder / "labels/vall")
    return "labels/val: missing; it holds the label maps of the 1 images"


def _same_id_twice(folder: Path) -> str:
    (folder / "images/train/a_000030.png").write_bytes(b"x")
    return "image id 'a_000030' is taken by a_000030.jpg"


def _same_id_in_two_splits(folder: Path) -> str:
    _write(folder, "labels", "test/b")
    return "image id 'b' is also in test"


def _bad_id(folder: Path) -> str:
    _write(folder, "labels", "train/with space")
    (folder / "labels/train/with space.png").unlink()
    return r"image id 'with space' is not usable; rename"


def _foreign_file(folder: Path) -> str:
    (folder / "images/train/notes.docx").write_text("x")
    return r"notes\.docx: not a PNG or JPEG file"


def _bad_split(folder: Path) -> str:
    (folder / "images/Train Set").mkdir()
    return "split name 'Train Set' is not usable"


def _no_train(folder: Path) -> str:
    (folder / "images/train").rename(folder / "images/training")
    (folder / "labels/train").rename(folder / "labels/training")
    return "no split named train; it has test, training, val"


_WRONGS = [
    _image_without_label, _label_without_image, _empty_split, _no_labels_of_split, _same_id_twice,
    _same_id_in_two_splits, _bad_id, _foreign_file, _bad_split, _no_train,
]  # fmt: skip


@pytest.mark.parametrize("spoil", _WRONGS)
def test_each_problem_is_named(native: Path, spoil: object) -> None:
    words = spoil(native)  # type: ignore[operator]
    with pytest.raises(BadInput, match=words):
        read_dataset(native)


def test_many_problems_are_one_message(native: Path) -> None:
    _write(native, "labels", *[f"train/x{number:02d}" for number in range(30)])
    for number in range(30):
        (native / f"labels/train/x{number:02d}.png").unlink()
    with pytest.raises(BadInput) as caught:
        read_dataset(native)
    lines = str(caught.value).splitlines()
    assert "30 problems" in lines[0]
    assert len(lines) == 22
    assert lines[-1].strip() == "and 10 more"


def test_hidden_files_are_ignored(native: Path) -> None:
    (native / "images/train/.DS_Store").write_text("x")
    (native / "images/.cache").mkdir()
    assert len(read_dataset(native).splits["train"]) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "no list named classes"),
        ('{"classes": []}', "0 classes"),
        ('{"classes": [{"index": 0}]}', r"classes\[0\] has no name"),
        ('{"classes": [{"index": 1, "name": "a"}]}', r"classes\[0\] \(a\) has index 1"),
        ('{"classes": [{"name": "a", "color": [1, 2]}]}', "has color"),
        ('{"classes": [{"name": "a"}, {"name": "a"}]}', "'a' appears twice"),
        ('{"classes": [{"name": "a"}], "ignore_index": 0}', "ignore_index 0"),
        ('{"classes": [{"name": "a"}], "frame_rate": 0}', "frame_rate 0"),
    ],
)
def test_class_files_that_are_wrong(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(BadInput, match=words):
        read_classes(tmp_path / "classes.json")


@pytest.mark.camvid
@pytest.mark.skipif("TESSERA_CAMVID" not in os.environ, reason="TESSERA_CAMVID is not set: the CamVid copy is not here")
def test_camvid_counts_sequences_and_times() -> None:
    source = read_dataset(Path(os.environ["TESSERA_CAMVID"]))
    assert {split: len(of) for split, of in source.splits.items()} == {"train": 367, "val": 101, "test": 233}
    assert len(source.classes.classes) == 11
    count: dict[tuple[str, str], int] = {}
    for split, of in source.splits.items():
        for sample in of:
            count[split, sample.sequence] = count.get((split, sample.sequence), 0) + 1
    assert count == {
        ("train", "0001TP"): 62,
        ("train", "0006R0"): 101,
        ("train", "0016E5"): 204,
        ("val", "0016E5"): 101,
        ("test", "0001TP"): 62,
        ("test", "Seq05VD"): 171,
    }
    times = {sample.image_id: sample.time for of in source.splits.values() for sample in of}
    assert times["0006R0_f00930"] == 31.0
