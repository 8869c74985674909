"""Cityscapes, finely annotated: ``leftImg8bit/SPLIT/CITY/`` and ``gtFine/SPLIT/CITY/``, 19 classes, the rest undefined.

Label maps are ``*_gtFine_labelIds.png`` as downloaded, or ``*_gtFine_labelTrainIds.png`` where only those exist. Each
snippet ``CITY_SEQUENCE`` is a video of 17 frames per second, of which mostly one frame is annotated. The test split is
left out: its public masks are empty. ``test=half`` cuts one from val by city (Frankfurt 267, Lindau and Münster 233).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tessera.datasets.definitions.cityscapes import CLASSES, FRAME_RATE, LABEL_IDS, VOID
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.listing import files_ending
from tessera.datasets.samples import Classes, LabelledImage, Problems, Source, check_splits, pair

_IMAGE = "_leftImg8bit.png"


class Cityscapes(LayoutParams):
    """``labels``: which files to read; ``auto`` takes ids, and train ids where there are no others."""

    labels: Literal["auto", "labelIds", "labelTrainIds"] = "auto"


def detect(folder: Path) -> bool:
    """Return whether the folder has images and annotations of the training split."""
    return (folder / "leftImg8bit" / "train").is_dir() and (folder / "gtFine" / "train").is_dir()


def city(sample: LabelledImage) -> str:
    """Return the city, with which the name starts."""
    return sample.image_id.split("_")[0]


@LAYOUTS.register(
    "cityscapes",
    Cityscapes,
    LayoutTraits(
        detect=detect, group=city, looks_for="leftImg8bit/train/CITY/ and gtFine/train/CITY/ (val), as in Cityscapes"
    ),
)
def read(folder: Path, params: Cityscapes, problems: Problems) -> Source:
    """Read the names of all images and label maps of train and val."""
    kind = params.labels
    if kind == "auto":
        ids = any((folder / "gtFine" / "train").glob("*/*_gtFine_labelIds.png"))
        trained = any((folder / "gtFine" / "train").glob("*/*_gtFine_labelTrainIds.png"))
        kind = "labelTrainIds" if trained and not ids else "labelIds"
    splits: dict[str, tuple[LabelledImage, ...]] = {}
    for split in ("train", "val"):
        if (folder / "leftImg8bit" / split).is_dir():
            splits[split] = _split(folder, split, f"_gtFine_{kind}.png", problems)
    check_splits(folder, splits, problems)
    code = LABEL_IDS if kind == "labelIds" else None
    return Source("cityscapes", "cityscapes", Classes(CLASSES, VOID, FRAME_RATE), splits, code)


def _split(folder: Path, split: str, ending: str, problems: Problems) -> tuple[LabelledImage, ...]:
    samples: list[LabelledImage] = []
    for images_at in sorted(path for path in (folder / "leftImg8bit" / split).iterdir() if path.is_dir()):
        labels_at = folder / "gtFine" / split / images_at.name
        images = files_ending(images_at, _IMAGE, problems)
        labels = files_ending(labels_at, ending, problems) if labels_at.is_dir() else {}
        samples += pair(split, images, labels, labels_at, FRAME_RATE, problems, lambda name: f"{name}{ending}")
    if not samples:
        problems.add(f"{folder / 'leftImg8bit' / split}: no image CITY/*{_IMAGE} with its label map; add them")
    return tuple(samples)
