"""CamVid in its two published layouts, on small trees that the tests write: lists, frames, colours, splits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataset_trees import ids, image, indices, mask, original_tree, read_tree, segnet_tree
from tessera.datasets.definitions import camvid
from tessera.datasets.reader import read_dataset
from tessera.errors import BadInput


def test_segnet_camvid(tmp_path: Path) -> None:
    source = read_tree("camvid", tmp_path)
    assert ids(source) == {
        "train": ["0001TP_006690", "0006R0_f00930", "0016E5_00390"],
        "val": ["0016E5_07959"],
        "test": ["Seq05VD_f00000"],
    }
    first, second, _ = source.splits["train"]
    assert (first.sequence, first.time) == ("0001TP", 223.0)
    assert (second.sequence, second.time) == ("0006R0", 31.0)
    assert indices(source, first)[:12] == [*range(11), 255]
    assert [info.name for info in source.classes.classes][7:] == ["Fence", "Car", "Pedestrian", "Bicyclist"]


def test_segnet_lists_in_one_line_with_other_names_and_without(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    segnet_tree(folder)
    for number in (1, 2):
        image(folder / "test" / f"test_{number:05d}.png")
        mask(folder / "testannot" / f"testannot_{number:05d}.png")
    both = [f"/x/test/test_{number:05d}.png /x/testannot/testannot_{number:05d}.png" for number in (1, 2)]
    (folder / "test.txt").write_text(" ".join(both) + " ")
    samples = read_dataset(folder).splits["test"]
    assert [(s.image_id, s.label_path.stem, s.sequence) for s in samples] == [
        ("test_00001", "testannot_00001", ""),
        ("test_00002", "testannot_00002", ""),
    ]
    (folder / "train.txt").unlink()
    assert len(read_dataset(folder).splits["train"]) == 3
    image(folder / "train/0001TP_006720.png")
    with pytest.raises(BadInput, match=r"0001TP_006720\.png: has no label map .*trainannot/0001TP_006720\.png"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a/x.png b/y.png c/z.png", "3 names do not make pairs"),
        ("0016E5_07959.png b.png", r"has no label map .*valannot/b\.png"),
        ("nope.png nope.png", r"'nope' is not in .*val"),
        ("0016E5_07959.png 0016E5_07959.png\n0016E5_07959.png 0016E5_07959.png", "listed twice"),
        ("\n", r"val\.txt: no images"),
        (b"\xff\xfe\x00", r"val\.txt: cannot be read"),
    ],
)
def test_segnet_lists_that_are_wrong(tmp_path: Path, text: str | bytes, words: str) -> None:
    segnet_tree(tmp_path)
    (tmp_path / "val.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=words):
        read_dataset(tmp_path)


def test_original_camvid_groups_32_colours_and_splits_by_frame(tmp_path: Path) -> None:
    source = read_tree("camvid_original", tmp_path)
    assert ids(source) == {
        "train": ["0001TP_008520", "0006R0_f00930", "0016E5_07920", "0016E5_08190"],
        "val": ["0016E5_07959"],
        "test": ["0001TP_008550", "Seq05VD_f00000"],
    }
    names = [info.name for info in source.classes.classes]
    got = [names[index] if index != 255 else "" for index in indices(source, source.splits["train"][0])]
    # Written out once more, group by group, as the publication lists them.
    groups = {
        "Sky": ["Sky"],
        "Building": ["Bridge", "Building", "Wall", "Tunnel", "Archway"],
        "Pole": ["Column_Pole", "TrafficCone"],
        "Road": ["Road", "LaneMkgsDriv", "LaneMkgsNonDriv"],
        "Pavement": ["Sidewalk", "ParkingBlock", "RoadShoulder"],
        "Tree": ["Tree", "VegetationMisc"],
        "SignSymbol": ["SignSymbol", "Misc_Text", "TrafficLight"],
        "Fence": ["Fence"],
        "Car": ["Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"],
        "Pedestrian": ["Pedestrian", "Child", "CartLuggagePram", "Animal"],
        "Bicyclist": ["Bicyclist", "MotorcycleScooter"],
        "": ["Void"],
    }
    assert dict(zip(camvid.ORIGINAL, got, strict=True)) == {name: to for to, of in groups.items() for name in of}
    assert len({colour for colour, _ in camvid.ORIGINAL.values()}) == 32
    fine = read_tree("camvid_original", tmp_path, grouping=32)
    assert len(fine.classes.classes) == 31
    assert indices(fine, fine.splits["train"][0])[:32] == [*range(30), 255, 30]


def test_original_camvid_with_lists_and_wrong_colours(tmp_path: Path) -> None:
    original_tree(tmp_path)
    for split, name in (("train", "Seq05VD_f00000"), ("val", "0001TP_008520"), ("test", "0016E5_07959")):
        (tmp_path / f"{split}.txt").write_text(f"{name}.png\n")
    assert ids(read_dataset(tmp_path)) == {
        "train": ["Seq05VD_f00000"], "val": ["0001TP_008520"], "test": ["0016E5_07959"],
    }  # fmt: skip
    for text, words in (
        ("64 128 64 Animals", "one of the 32"),
        ("64 128 65 Animal", "Animal is 64 128 65, not 64 128 64"),
    ):
        (tmp_path / "label_colors.txt").write_text(f"0 0 0 Void\n{text}\n")
        with pytest.raises(BadInput, match=rf"label_colors\.txt: line 2: .*{words}"):
            read_dataset(tmp_path)


def test_original_camvid_names_foreign_images_and_lone_labels(tmp_path: Path) -> None:
    original_tree(tmp_path)
    image(tmp_path / "701_StillsRaw_full/holiday.png")
    (tmp_path / "701_StillsRaw_full/0016E5_07920.png").unlink()
    with pytest.raises(
        BadInput, match=r"(?s)holiday\.png: not a frame of the four videos.*0016E5_07920_L\.png: a label"
    ):
        read_dataset(tmp_path)


@pytest.mark.camvid
@pytest.mark.skipif("TESSERA_CAMVID" not in os.environ, reason="TESSERA_CAMVID is not set: the CamVid copy is not here")
def test_camvid_split_is_that_of_the_copy() -> None:
    source = read_dataset(Path(os.environ["TESSERA_CAMVID"]))
    for split, samples in source.splits.items():
        for sample in samples:
            assert camvid.split_of(sample.image_id) == split
            assert camvid.place(sample.image_id) == (sample.sequence, sample.time)
    assert [info for info in source.classes.classes] == list(camvid.CLASSES)
