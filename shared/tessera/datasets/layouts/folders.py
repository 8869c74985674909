"""Plain folders: ``images/`` and ``masks/``, with a sub-folder per split or lists ``train.txt``, ``val.txt`` ….

A list has one image per line, by id or file name, and lies beside ``images/`` or in ``splits/``. Classes come from
``classes.json`` or ``classes.txt`` in the folder, or from the file the user names. Names say nothing about videos.
"""

from __future__ import annotations

from pathlib import Path

from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.layouts.native import read_splits
from tessera.datasets.listing import find_lists, keep, listed
from tessera.datasets.samples import (
    Classes,
    LabelledImage,
    Problems,
    Source,
    check_splits,
    image_files,
    pair,
    read_classes,
)
from tessera.errors import BadInput


def detect(folder: Path) -> bool:
    """Return whether the folder has images and masks."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


@LAYOUTS.register(
    "folders",
    LayoutParams,
    LayoutTraits(
        detect=detect,
        looks_for="images/ and masks/, with sub-folders train, val, test or lists train.txt, val.txt, test.txt",
    ),
)
def read(folder: Path, params: LayoutParams, problems: Problems) -> Source:
    """Read the names of all images and masks."""
    classes = own_classes(folder, params)
    lists = find_lists(folder, "splits")
    splits = _by_list(folder, lists, problems) if lists else read_splits(folder, "masks", None, problems)
    return Source(classes.name or folder.resolve().name, "folders", classes, splits)


def own_classes(folder: Path, params: LayoutParams) -> Classes:
    """Return the classes from the user's file, or from ``classes.json`` or ``classes.txt``; BadInput without any."""
    if params.classes is not None:
        return read_classes(params.classes)
    for name in ("classes.json", "classes.txt"):
        if (folder / name).is_file():
            return read_classes(folder / name)
    raise BadInput(f"{folder}: neither classes.json nor classes.txt; add one or name a file with --set classes=FILE")


def _by_list(folder: Path, lists: dict[str, Path], problems: Problems) -> dict[str, tuple[LabelledImage, ...]]:
    images, masks = image_files(folder / "images", problems), image_files(folder / "masks", problems)
    splits: dict[str, tuple[LabelledImage, ...]] = {}
    for split, path in lists.items():
        wanted = listed(path, images, folder / "images", problems)
        splits[split] = pair(split, wanted, keep(masks, wanted), folder / "masks", None, problems)
    check_splits(folder, splits, problems)
    return splits
