"""COCO-Stuff: images ``train2017/``, ``val2017/`` and one-channel PNG below ``stuffthingmaps/``, 171 classes.

Images may also lie in ``images/``, label maps in ``stuffthingmaps_trainval2017/`` or ``annotations/``. ``ids=182``
keeps the published numbers, among which 11 classes never occur. There are no labels for test; ``test=half`` cuts a
test split from val.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tessera.datasets.definitions.coco_stuff import ALL_CLASSES, CLASSES, CODE, VOID
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.samples import Classes, Problems, Source, check_splits, image_files, pair

_LABELS = ("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations")


class CocoStuff(LayoutParams):
    """``ids``: 171 classes numbered without gaps, or the 182 published ids."""

    ids: Literal[171, 182] = 171


def _find(folder: Path, roots: tuple[str, ...], name: str) -> Path | None:
    return next((folder / root / name for root in roots if (folder / root / name).is_dir()), None)


def detect(folder: Path) -> bool:
    """Return whether the folder has images and label maps of the training split."""
    return bool(_find(folder, (".", "images"), "train2017") and _find(folder, _LABELS, "train2017"))


@LAYOUTS.register(
    "coco_stuff",
    CocoStuff,
    LayoutTraits(detect=detect, looks_for="train2017/ and stuffthingmaps/train2017/ (val2017), as in COCO-Stuff"),
)
def read(folder: Path, params: CocoStuff, problems: Problems) -> Source:
    """Read the names of all images and label maps."""
    splits = {}
    for split in ("train", "val"):
        images_at = _find(folder, (".", "images"), f"{split}2017")
        labels_at = _find(folder, _LABELS, f"{split}2017")
        if images_at and labels_at:
            images, labels = image_files(images_at, problems), image_files(labels_at, problems)
            splits[split] = pair(split, images, labels, labels_at, None, problems)
    check_splits(folder, splits, problems)
    classes, code = (CLASSES, CODE) if params.ids == 171 else (ALL_CLASSES, None)
    return Source("coco-stuff", "coco_stuff", Classes(classes, VOID), splits, code)
