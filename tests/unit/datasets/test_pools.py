"""Pools: which images they take, that they repeat, and what is written for them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_trees import colours, image, mask
from tessera.datasets.definitions import a2d2
from tessera.datasets.making import make_pool
from tessera.datasets.pools import POOLS, PoolImage
from tessera.datasets.reader import read_dataset
from tessera.datasets.samples import Classes, LabelledImage, Source
from tessera.errors import BadInput
from tessera.formats.images import decode_labels
from tessera.formats.manifests import ClassInfo

CLASSES = Classes((ClassInfo("road", (1, 2, 3)), ClassInfo("sky", (4, 5, 6))), frame_rate=10.0)


def _source(lengths: Mapping[str, list[int]], step: int = 1) -> Source:
    """Videos of these lengths in each split, 10 frames per second."""
    splits = {}
    for split, of in lengths.items():
        samples = [
            LabelledImage(f"{split}{v}_{at * step:06d}", split, Path(split), Path(split), f"{split}{v}", at * step / 10)
            for v, count in enumerate(of)
            for at in range(count)
        ]
        splits[split] = tuple(samples)
    return Source("set", "native", CLASSES, splits)


def _choose(kind: str, source: Source, seed: int = 0, **parameters: Any) -> tuple[PoolImage, ...]:
    return POOLS.entry(kind).function(source, POOLS.parameters(kind, parameters), seed)


def _train(entries: tuple[PoolImage, ...]) -> list[str]:
    return [entry.image_id for entry in entries if entry.split == "train"]


def _shuffled(source: Source, seed: int) -> Source:
    splits = {}
    for split, samples in source.splits.items():
        mixed = list(samples)
        Random(seed).shuffle(mixed)
        splits[split] = tuple(mixed)
    return Source(source.name, source.layout, source.classes, splits)


KINDS = {
    "copy": {},
    "frames": {"images": 12, "following": 2},
    "augmented": {"images": 12, "duplicates": 3},
    "video": {},
}


def test_every_pool_is_tested() -> None:
    assert set(POOLS.names()) == {*KINDS, "imbalanced"}  # its classes are of whole images: test_classification_layouts


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_equal_arguments_give_equal_pools_whatever_the_order_of_files(kind: str) -> None:
    source = _source({"train": [12, 9, 10], "val": [5], "test": [3]})
    first = _choose(kind, source, 7, **KINDS[kind])
    assert _choose(kind, source, 7, **KINDS[kind]) == first
    assert _choose(kind, _shuffled(source, 1), 7, **KINDS[kind]) == first
    assert len({(entry.split, entry.image_id) for entry in first}) == len(first)
    others = [_choose(kind, source, seed, **KINDS[kind]) for seed in range(8, 12)]
    assert (kind == "copy") == all(other == first for other in others)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 6), st.integers(1, 8), st.integers(0, 2**31)
)  # fmt: skip
def test_frames_are_runs_of_consecutive_frames(lengths: list[int], following: int, runs: int, seed: int) -> None:
    source, length = _source({"train": lengths, "test": [2]}), following + 1
    if runs > sum(count // length for count in lengths):
        with pytest.raises(BadInput, match=r"has room for|is followed by"):
            _choose("frames", source, seed, images=runs * length, following=following)
        return
    entries = _choose("frames", source, seed, images=runs * length, following=following)
    assert [entry.image_id for entry in entries if entry.split == "test"] == ["test0_000000", "test0_000001"]
    taken = sorted(entry.sample.image_id for entry in entries if entry.split == "train")
    assert len(set(taken)) == len(taken) == runs * length
    # Every video's chosen frames are made of pieces whose lengths are multiples of a run.
    for video in range(len(lengths)):
        frames = sorted(int(name.split("_")[1]) for name in taken if name.startswith(f"train{video}_"))
        pieces: list[list[int]] = []
        for frame in frames:
            if pieces and frame == pieces[-1][-1] + 1:
                pieces[-1].append(frame)
            else:
                pieces.append([frame])
        assert all(len(piece) % length == 0 for piece in pieces)


def test_frames_follow_annotated_frames_and_mind_the_gap() -> None:
    # As in A2D2, where every tenth frame is annotated: neighbours are one second apart here.
    source = _source({"train": [6]}, step=10)
    assert len(_train(_choose("frames", source, images=6, following=5))) == 6
    assert len(_train(_choose("frames", source, images=6, following=5, gap=1.0))) == 6
    with pytest.raises(BadInput, match="is followed by 5 frames"):
        _choose("frames", source, images=6, following=5, gap=0.9)


def test_every_start_of_a_run_can_be_drawn() -> None:
    source = _source({"train": [5, 3]})
    first = {min(_train(_choose("frames", source, seed, images=3, following=2))) for seed in range(60)}
    assert first == {"train0_000000", "train0_000001", "train0_000002", "train1_000000"}


def test_runs_are_spread_evenly() -> None:
    # The first of two videos has twice the places; within one, every placement of two runs of 2 in 5 frames is alike.
    source = _source({"train": [5, 3]})
    names = [_train(_choose("frames", source, seed, images=2, following=1))[0] for seed in range(1200)]
    counts = {name: names.count(name) for name in set(names)}
    assert len(counts) == 6
    assert all(abs(count - 200) < 60 for count in counts.values()), counts
    one = _source({"train": [5]})
    pairs = [tuple(_train(_choose("frames", one, seed, images=4, following=1))) for seed in range(600)]
    counts = {str(pair): pairs.count(pair) for pair in set(pairs)}
    assert len(counts) == 3
    assert all(abs(count - 200) < 60 for count in counts.values()), counts


def test_frames_that_cannot_be() -> None:
    source = _source({"train": [10, 10], "test": [1]})
    with pytest.raises(BadInput, match="images=10 is not a multiple of 1 \\+ following=3; use 8 or 12"):
        _choose("frames", source, images=10, following=3)
    with pytest.raises(BadInput, match="has room for 2 of 3 runs of 10 frames; use images=20"):
        _choose("frames", source, images=30, following=9)
    with pytest.raises(BadInput, match="is followed by 10 frames"):
        _choose("frames", source, images=11, following=10)
    with pytest.raises(BadInput, match=r"pool\.frames\.images: missing"):
        _choose("frames", source)
    with pytest.raises(BadInput, match=r"no images in train"):
        _choose("frames", _source({"test": [1]}), images=1, following=0)


def test_frames_without_videos_need_no_following() -> None:
    stills = tuple(LabelledImage(f"i{at}", "train", Path("x"), Path("x"), "", 0.0) for at in range(9))
    source = Source("set", "folders", CLASSES, {"train": stills})
    assert len(_train(_choose("frames", source, images=4, following=0))) == 4
    with pytest.raises(BadInput, match="names carry sequence and time"):
        _choose("frames", source, images=4, following=1)


def test_the_sizes_of_the_study_fit() -> None:
    source = _source({"train": [800] * 8})
    for following in (0, 5, 11, 21):
        assert len(_train(_choose("frames", source, images=2640, following=following))) == 2640
    assert len(_train(_choose("augmented", source, images=2640))) == 2640


def test_augmented() -> None:
    source = _source({"train": [20], "val": [2], "test": [2]})
    entries = _choose("augmented", source, 3, images=12, duplicates=3)
    originals = [entry for entry in entries if entry.split == "train" and entry.change is None]
    changed = [entry for entry in entries if entry.change is not None]
    assert (len(originals), len(changed)) == (3, 9)
    for original in originals:
        of = [entry for entry in changed if entry.sample == original.sample]
        assert [entry.image_id for entry in of] == [f"{original.image_id}.aug{number}" for number in (1, 2, 3)]
        assert len({entry.change for entry in of}) == 3
    assert [entry.split for entry in entries if entry.split != "train"] == ["val", "val", "test", "test"]
    # The same duplicate whatever else is in the pool.
    larger = {entry.image_id: entry.change for entry in _choose("augmented", source, 3, images=80, duplicates=3)}
    assert all(larger[entry.image_id] == entry.change for entry in changed)


def test_augmented_that_cannot_be() -> None:
    source = _source({"train": [7]})
    assert len(_train(_choose("augmented", source))) == 6
    assert len(_train(_choose("augmented", _source({"train": [2]})))) == 6
    with pytest.raises(BadInput, match="images=13 is not a multiple of 1 \\+ duplicates=5; use 12 or 18"):
        _choose("augmented", source, images=13)
    with pytest.raises(BadInput, match="images=48 needs 8 originals, train of set has 7; use images=42"):
        _choose("augmented", source, images=48)


def test_video() -> None:
    source = _source({"train": [20, 10], "val": [6], "test": [4]})
    entries = _choose("video", source)
    names = _train(entries)
    assert len(names) == 12
    assert [name for name in names if name.startswith("val")] == [s.image_id for s in source.splits["val"]]
    assert {entry.split for entry in entries} == {"train", "test"}
    assert len(_train(_choose("video", source, random=0))) == 6
    with pytest.raises(BadInput, match="random=31, but train of set has 30"):
        _choose("video", source, random=31)
    with pytest.raises(BadInput, match="no test split"):
        _choose("video", _source({"train": [5], "val": [2]}))
    with pytest.raises(BadInput, match="split 'extra' of set has 0 images and 0 videos"):
        _choose("video", source, split="extra")
    with pytest.raises(BadInput, match="besides train"):
        _choose("video", source, split="test")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A2D2 in small: coloured labels, three scenes of six frames."""
    folder = tmp_path / "a2d2"
    for scene in ("20180807_145028", "20180810_142822", "20180925_112730"):
        for frame in range(10, 70, 10):
            stamp = f"{scene.replace('_', '')}_{{}}_frontcenter_{frame:09d}.png"
            image(folder / scene / "camera/cam_front_center" / stamp.format("camera"), (8, 10))
            values = [a2d2.colour("ff00ff")] * 40 + [a2d2.colour("87ceff")]
            colours(folder / scene / "label/cam_front_center" / stamp.format("label"), values, (8, 10))
    return folder


def _bytes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("copy", {}),
        ("frames", {"images": 6, "following": 2}),
        ("augmented", {"images": 8, "duplicates": 3}),
        ("video", {"random": 4}),
    ],
)
def test_a_pool_on_disk(scenes: Path, tmp_path: Path, kind: str, parameters: dict[str, Any]) -> None:
    steps: list[tuple[int, int, str]] = []
    given = {"test": "half"}
    folder = make_pool(kind, scenes, tmp_path / "pool", parameters, 5, None, given, lambda *step: steps.append(step))
    source, made = read_dataset(scenes, settings=given), read_dataset(folder)
    assert made.layout == "native"
    assert made.classes.classes == source.classes.classes
    by_id = {sample.image_id: sample for of in source.splits.values() for sample in of}
    note = json.loads((folder / "pool.json").read_text())
    assert (note["kind"], note["seed"], note["source"]["settings"]) == (kind, 5, given)
    assert note["source"]["images"] == {"train": 12, "val": 3, "test": 3}
    total = 0
    for split, samples in made.splits.items():
        for sample in samples:
            total += 1
            origin = by_id[sample.image_id.split(".aug")[0]]
            assert (sample.sequence, sample.time) == (origin.sequence, origin.time)
            told = note["images"][sample.image_id]
            data = sample.image_path.read_bytes()
            assert told["from"] == f"{origin.split}/{origin.image_id}"
            assert (told["split"], told["sha256"]) == (split, hashlib.sha256(data).hexdigest())
            labels = decode_labels(sample.label_path.read_bytes(), "label", 19, shape=(8, 10))
            assert set(labels.ravel().tolist()) <= {0, 10}
            if "change" in told:
                assert set(told["change"]) == {"area", "row", "column", "brightness", "contrast", "saturation", "hue"}
            else:
                assert data == origin.image_path.read_bytes()
                assert labels.ravel().tolist() == [0] * 40 + [10] * 40
    assert total == len(note["images"]) == steps[-1][0] == steps[-1][1]
    again = make_pool(kind, scenes, tmp_path / "again", parameters, 5, None, given)
    assert _bytes(again) == _bytes(folder)


def test_stills_stay_stills(tmp_path: Path) -> None:
    # VOC's names look like a video of the year 2007; a native folder would take them for one.
    for name in ("2007_000032", "2007_000033"):
        image(tmp_path / "voc/JPEGImages" / f"{name}.jpg")
        mask(tmp_path / "voc/SegmentationClass" / f"{name}.png", [0, 15, 255])
    lists = tmp_path / "voc/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032")
    (lists / "val.txt").write_text("2007_000033")
    folder = make_pool("copy", tmp_path / "voc", tmp_path / "pool", {})
    assert {(s.sequence, s.time) for of in read_dataset(folder).splits.values() for s in of} == {("", 0.0)}


def test_a_pool_is_not_mixed_into_another_folder_and_a_broken_source_makes_none(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="exists and is not an empty folder"):
        make_pool("copy", scenes, scenes, {})
    with pytest.raises(BadInput, match=r"pool\.copy\.images: unknown key"):
        make_pool("copy", scenes, tmp_path / "pool", {"images": 3})
    with pytest.raises(BadInput, match="unknown name 'frame'; did you mean frames"):
        make_pool("frame", scenes, tmp_path / "pool", {})
    sample = read_dataset(scenes).splits["train"][3]
    colours(sample.label_path, [(1, 2, 3)], (8, 10))
    with pytest.raises(BadInput, match=r"colour \(1, 2, 3\) at row 0, column 0"):
        make_pool("copy", scenes, tmp_path / "pool", {})
    # What an interrupted call leaves is not taken for a data set.
    with pytest.raises(BadInput, match="no known layout"):
        read_dataset(tmp_path / "pool")


@pytest.mark.camvid
@pytest.mark.skipif("TESSERA_CAMVID" not in os.environ, reason="TESSERA_CAMVID is not set: the CamVid copy is not here")
def test_pools_of_camvid() -> None:
    source = read_dataset(Path(os.environ["TESSERA_CAMVID"]))
    augmented = _choose("augmented", source)
    assert len(_train(augmented)) == 366
    assert sum(entry.change is None for entry in augmented if entry.split == "train") == 61
    assert {"val": 101, "test": 233}.items() <= {
        split: sum(entry.split == split for entry in augmented) for split in ("val", "test")
    }.items()  # fmt: skip
    video = _choose("video", source)
    assert len(_train(video)) == 202
    assert sum(entry.sample.split == "val" for entry in video) == 101
    assert {entry.split: None for entry in video} == {"train": None, "test": None}
    frames = _choose("frames", source, images=354, following=5)
    assert len(_train(frames)) == 354
