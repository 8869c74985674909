"""BDD100K, semantic segmentation: ``images/10k/SPLIT/`` and ``labels/sem_seg/masks/SPLIT/``, Cityscapes' 19 classes.

Masks hold train ids, 255 is undefined. The images are single frames of different videos, so there are no sequences.
Test has no public masks and is left out; ``test=half`` cuts one from val.
"""

from __future__ import annotations

from pathlib import Path

from tessera.datasets.definitions.cityscapes import CLASSES, VOID
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.listing import SPLITS
from tessera.datasets.samples import Classes, Problems, Source, check_splits, image_files, pair

_IMAGES, _MASKS = Path("images/10k"), Path("labels/sem_seg/masks")


def detect(folder: Path) -> bool:
    """Return whether the folder has images and masks of the training split."""
    return (folder / _IMAGES / "train").is_dir() and (folder / _MASKS / "train").is_dir()


@LAYOUTS.register(
    "bdd100k",
    LayoutParams,
    LayoutTraits(detect=detect, looks_for=f"{_IMAGES}/train/ and {_MASKS}/train/ (val), as in BDD100K"),
)
def read(folder: Path, params: LayoutParams, problems: Problems) -> Source:
    """Read the names of all images that have masks."""
    splits = {}
    for split in SPLITS:
        images_at, masks_at = folder / _IMAGES / split, folder / _MASKS / split
        if images_at.is_dir() and masks_at.is_dir():
            images, masks = image_files(images_at, problems), image_files(masks_at, problems)
            splits[split] = pair(split, images, masks, masks_at, None, problems)
    check_splits(folder, splits, problems)
    return Source("bdd100k", "bdd100k", Classes(CLASSES, VOID), splits)
