"""PASCAL VOC 2012: ``JPEGImages/``, ``SegmentationClass/`` (palette PNG, 255 void), ``ImageSets/Segmentation/`` lists.

``train=train_aug`` (or the name of any other list) takes the larger training split with SBD: its label maps come from
``SegmentationClassAug/`` and, for images that are not there, from ``SegmentationClass/``. The folder may be ``VOC2012``
or one above it. Test has no public labels; ``test=half`` cuts one from val.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tessera.datasets.definitions.voc import CLASSES
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.listing import keep, listed
from tessera.datasets.samples import Classes, LabelledImage, Problems, Source, check_splits, image_files, pair
from tessera.errors import BadInput

_LISTS = ("ImageSets/Segmentation", "ImageSets/SegmentationAug")
_PLAIN, _AUG = "SegmentationClass", "SegmentationClassAug"


class Voc(LayoutParams):
    """``train`` and ``val``: names of the lists of these splits, without ``.txt``."""

    train: str = Field(default="train", pattern=r"^[A-Za-z0-9_-]+$")
    val: str = Field(default="val", pattern=r"^[A-Za-z0-9_-]+$")


def _root(folder: Path) -> Path | None:
    for root in (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012"):
        if (root / "JPEGImages").is_dir() and (root / _LISTS[0]).is_dir():
            return root
    return None


def detect(folder: Path) -> bool:
    """Return whether the folder has images and segmentation lists."""
    return _root(folder) is not None


@LAYOUTS.register(
    "voc",
    Voc,
    LayoutTraits(
        detect=detect, looks_for="JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/, as in PASCAL VOC 2012"
    ),
)
def read(folder: Path, params: Voc, problems: Problems) -> Source:
    """Read the names of the listed images; BadInput when a list is not there."""
    root = _root(folder) or folder
    images = image_files(root / "JPEGImages", problems)
    plain, augmented = (image_files(root / at, problems) if (root / at).is_dir() else {} for at in (_PLAIN, _AUG))
    splits: dict[str, tuple[LabelledImage, ...]] = {}
    for split, name in (("train", params.train), ("val", params.val)):
        wanted = listed(_list(root, name), images, root / "JPEGImages", problems)
        # The list of VOC itself keeps VOC's own, finer label maps.
        own = name in ("train", "val", "trainval") and bool(plain)
        labels, labels_at = (plain, root / _PLAIN) if own else ({**plain, **augmented}, root / _AUG)
        splits[split] = pair(split, wanted, keep(labels, wanted), labels_at, None, problems)
    check_splits(folder, splits, problems)
    return Source("voc2012", "voc", Classes(CLASSES), splits)


def _list(root: Path, name: str) -> Path:
    for at in _LISTS:
        if (root / at / f"{name}.txt").is_file():
            return root / at / f"{name}.txt"
    there = ", ".join(sorted(path.stem for at in _LISTS for path in (root / at).glob("*.txt"))) or "none"
    raise BadInput(f"{root / _LISTS[0]}: no list {name}.txt; it has {there}; name one with --set train=… or val=…")
