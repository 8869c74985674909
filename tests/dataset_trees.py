"""Small data set folders in published layouts, written by the tests that read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tessera.datasets.definitions import a2d2, camvid, coco_stuff
from tessera.datasets.reader import read_dataset
from tessera.datasets.samples import LabelledImage, Source
from tessera.formats.images import decode_labels, encode_jpeg, encode_png
from tessera.formats.label_codes import index_png

SHAPE = (4, 6)


def image(path: Path, shape: tuple[int, int] = SHAPE) -> None:
    """An image of one gray."""
    _write(path, (encode_png if path.suffix == ".png" else encode_jpeg)(np.full((*shape, 3), 90, np.uint8)))


def mask(path: Path, values: Sequence[int] = (0,), shape: tuple[int, int] = SHAPE) -> None:
    """A one-channel label map that holds these values, row by row, and then the last one."""
    flat = np.full(shape[0] * shape[1], values[-1], np.uint8)
    flat[: len(values)] = values
    _write(path, encode_png(flat.reshape(shape)))


def colours(path: Path, values: Sequence[tuple[int, int, int]], shape: tuple[int, int] = SHAPE) -> None:
    """An RGB label map that holds these colours, row by row, and then the last one."""
    flat = np.full((shape[0] * shape[1], 3), values[-1], np.uint8)
    flat[: len(values)] = values
    _write(path, encode_png(flat.reshape((*shape, 3))))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def ids(source: Source) -> Mapping[str, list[str]]:
    """Image ids by split."""
    return {split: [sample.image_id for sample in of] for split, of in source.splits.items()}


def indices(source: Source, sample: LabelledImage) -> list[int]:
    """The class indices of a sample's label map, row by row."""
    classes = source.classes
    data = index_png(
        sample.label_path.read_bytes(),
        sample.label_path.name,
        source.labels,
        len(classes.classes),
        classes.ignore_index,
    )
    return [int(value) for value in decode_labels(data, "label", len(classes.classes), classes.ignore_index).ravel()]


def segnet_tree(folder: Path) -> None:
    """CamVid as SegNet publishes it: three splits of prepared images, listed with the paths of its authors."""
    listing = {
        "train": ["0001TP_006690", "0006R0_f00930", "0016E5_00390"],
        "val": ["0016E5_07959"],
        "test": ["Seq05VD_f00000"],
    }
    for split, names in listing.items():
        for name in names:
            image(folder / split / f"{name}.png")
            mask(folder / f"{split}annot" / f"{name}.png", range(12))
        lines = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png" for name in names]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")


def original_tree(folder: Path) -> None:
    """CamVid as first published: all frames in one folder, labels in the 32 colours."""
    names = ["0001TP_008520", "0001TP_008550", "0006R0_f00930", "0016E5_07920", "0016E5_07959", "0016E5_08190"]
    for name in [*names, "Seq05VD_f00000"]:
        image(folder / "701_StillsRaw_full" / f"{name}.png", (4, 8))
        values = [colour for colour, _ in camvid.ORIGINAL.values()]
        colours(folder / "LabeledApproved_full" / f"{name}_L.png", values, (4, 8))
    lines = [f"{r} {g} {b}\t{name}" for name, ((r, g, b), _) in camvid.ORIGINAL.items()]
    (folder / "label_colors.txt").write_text("\r\n".join(lines))


def cityscapes_tree(folder: Path) -> None:
    """Cityscapes, with val cities of several videos and a test city."""
    for split, name in (
        ("train", "aachen_000000_000019"),
        ("train", "hamburg_000000_106102"),
        ("val", "frankfurt_000000_000294"),
        ("val", "frankfurt_000001_000576"),
        ("val", "frankfurt_000001_000593"),
        ("val", "lindau_000000_000019"),
        ("val", "munster_000000_000019"),
        ("val", "munster_000001_000019"),
        ("test", "berlin_000000_000019"),
    ):
        city = name.split("_")[0]
        image(folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", (5, 8))
        below = folder / "gtFine" / split / city
        mask(below / f"{name}_gtFine_labelIds.png", range(34), (5, 8))
        image(below / f"{name}_gtFine_color.png")
        (below / f"{name}_gtFine_polygons.json").write_text("{}")


def bdd_tree(folder: Path) -> None:
    """BDD100K's 10K images; those of test have no labels."""
    for split, name in (("train", "0a0a0b1a-7c39d841"), ("val", "7d06fefd-f7be05a6"), ("val", "7d128593-0ccfea4c")):
        image(folder / "images/10k" / split / f"{name}.jpg")
        mask(folder / "labels/sem_seg/masks" / split / f"{name}.png", [*range(19), 255])
    image(folder / "images/10k/test/ac6d4f42-00000000.jpg")


def voc_tree(folder: Path) -> None:
    """Pascal VOC with the longer train list of SBD beside its own."""
    names = {
        "train": ["2007_000032", "2007_000039"],
        "val": ["2007_000033"],
        "train_aug": ["2007_000032", "2008_000002"],
    }
    for name in ("2007_000032", "2007_000039", "2007_000033", "2008_000002", "2009_000999"):
        image(folder / "JPEGImages" / f"{name}.jpg")
    for name in (*names["train"], *names["val"]):
        mask(folder / "SegmentationClass" / f"{name}.png", [*range(21), 255])
    mask(folder / "SegmentationClassAug" / "2008_000002.png", [15, 255])
    for name in ("train", "val"):
        path = folder / "ImageSets/Segmentation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names[name]) + "\n")
    lines = [f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png" for name in names["train_aug"]]
    (folder / "ImageSets/Segmentation/train_aug.txt").write_text("\n".join(lines))


def a2d2_tree(folder: Path) -> None:
    """A2D2: two scenes, one of them seen by two cameras, every colour in every label map."""
    values = [a2d2.colour(text) for entry in a2d2.CLASSES.values() for text in entry.colours]
    for scene, camera, frame in (
        ("20180807_145028", "front_center", 91),
        ("20180807_145028", "front_center", 101),
        ("20180807_145028", "side_left", 91),
        ("20180925_112730", "front_center", 20),
        ("20180925_112730", "front_center", 30),
    ):
        stamp = f"{scene.replace('_', '')}_{{}}_{camera.replace('_', '')}_{frame:09d}"
        image(folder / scene / "camera" / f"cam_{camera}" / f"{stamp.format('camera')}.png", (8, 8))
        (folder / scene / "camera" / f"cam_{camera}" / f"{stamp.format('camera')}.json").write_text("{}")
        colours(folder / scene / "label" / f"cam_{camera}" / f"{stamp.format('label')}.png", values, (8, 8))
    listing = {}
    for name, entry in a2d2.CLASSES.items():
        for number, text in enumerate(entry.colours, start=1):
            listing[f"#{text}"] = name if len(entry.colours) == 1 else f"{name} {number}"
    (folder / "class_list.json").write_text(json.dumps(listing))


def mmseg_tree(folder: Path) -> None:
    """The folders that MMSegmentation's converters make, with a sub-folder."""
    for split, name in (("train", "a"), ("train", "deep/b"), ("val", "c"), ("test", "d")):
        image(folder / "img_dir" / split / f"{name}.jpg")
        mask(folder / "ann_dir" / split / f"{name}.png", [0, 1, 2, 255])
    (folder / "classes.txt").write_text("road\nsky\ncar\n")


def coco_tree(folder: Path) -> None:
    """COCO-Stuff's pixel maps beside the images of 2017; those of test have no labels."""
    for split, name in (("train", "000000000009"), ("val", "000000000139"), ("val", "000000000285")):
        image(folder / f"{split}2017" / f"{name}.jpg", (14, 14))
        mask(folder / "stuffthingmaps" / f"{split}2017" / f"{name}.png", [*coco_stuff.USED, 255], (14, 14))
    image(folder / "test2017/000000000001.jpg")


TREES: dict[str, Callable[[Path], None]] = {
    "camvid": segnet_tree,
    "camvid_original": original_tree,
    "cityscapes": cityscapes_tree,
    "bdd100k": bdd_tree,
    "voc": voc_tree,
    "a2d2": a2d2_tree,
    "mmseg": mmseg_tree,
    "coco_stuff": coco_tree,
}
"""Layout's name → function that writes its tree."""


def read_tree(name: str, tmp_path: Path, **settings: object) -> Source:
    """Read the tree of this layout, written on the first call, with settings of the layout."""
    folder = tmp_path / "set"
    if not folder.exists():
        TREES[name](folder)
    return read_dataset(folder, settings=settings)
