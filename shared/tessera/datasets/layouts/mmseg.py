"""The layout of MMSegmentation: ``img_dir/`` and ``ann_dir/``, with a sub-folder per split or lists beside them.

``image_suffix`` and ``label_suffix`` are the ends of names (``_leftImg8bit.png``); default: any PNG or JPEG, and
``.png``. ``reduce_zero_label`` makes 0 the ignored value and shifts the others down by one. Classes as in plain
folders.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.layouts.folders import own_classes
from tessera.datasets.listing import SPLITS, files_ending, find_lists, keep, listed
from tessera.datasets.samples import IMAGE_SUFFIXES, LabelledImage, Problems, Source, check_splits, pair
from tessera.formats.label_codes import IdCode


class MmSeg(LayoutParams):
    """Parameters of MMSegmentation's data set classes."""

    image_suffix: str = ""
    label_suffix: str = ".png"
    reduce_zero_label: bool = False


def detect(folder: Path) -> bool:
    """Return whether the folder has both parts."""
    return (folder / "img_dir").is_dir() and (folder / "ann_dir").is_dir()


@LAYOUTS.register(
    "mmseg",
    MmSeg,
    LayoutTraits(
        detect=detect,
        looks_for="img_dir/ and ann_dir/, with sub-folders train, val, test or lists train.txt, val.txt, test.txt",
    ),
)
def read(folder: Path, params: MmSeg, problems: Problems) -> Source:
    """Read the names of all images and label maps, also those in deeper folders."""
    classes = own_classes(folder, params)
    lists = find_lists(folder, "splits")
    splits: dict[str, tuple[LabelledImage, ...]] = {}
    for split in lists or (name for name in SPLITS if (folder / "img_dir" / name).is_dir()):
        below = "." if lists else split
        images_at, labels_at = folder / "img_dir" / below, folder / "ann_dir" / below
        images = _images(images_at, params.image_suffix, problems)
        labels = files_ending(labels_at, params.label_suffix, problems, deep=True) if labels_at.is_dir() else {}
        if lists:
            images = listed(lists[split], images, images_at, problems)
            labels = keep(labels, images)
        splits[split] = pair(
            split, images, labels, labels_at, None, problems, lambda name: f"{name}{params.label_suffix}"
        )
    check_splits(folder, splits, problems)
    code = None
    if params.reduce_zero_label:
        count = len(classes.classes)
        code = IdCode(
            f"values of {count} classes from 1 (reduce_zero_label), 0 and 255",
            {**{value: value - 1 for value in range(1, count + 1)}, 0: 255, 255: 255},
        )
        classes = replace(classes, ignore_index=255)
    return Source(classes.name or folder.resolve().name, "mmseg", classes, splits, code)


def _images(folder: Path, suffix: str, problems: Problems) -> dict[str, Path]:
    if suffix:
        return files_ending(folder, suffix, problems, deep=True)
    found: dict[str, Path] = {}
    for each in IMAGE_SUFFIXES:
        for image_id, path in files_ending(folder, each, problems, deep=True).items():
            if image_id in found:
                problems.add(f"{path}: image id {image_id!r} is taken by {found[image_id]}; ids are unique")
            found[image_id] = path
    return dict(sorted(found.items()))
