"""One folder per class: ``train/CLASS/*.png``, ``val/CLASS/…``, ``test/CLASS/…``, as published trees of ImageNet have
it.

A data set of classification: every image has one class. All images need one size, since the network averages over
all of an image: ``size=N`` scales the shorter side to N pixels and cuts out the middle square.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from tessera.datasets.files import read_file
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.samples import (
    IMAGE_SUFFIXES,
    Classes,
    LabelledImage,
    Problems,
    Source,
    check_splits,
    palette,
    read_classes,
    split_folders,
)
from tessera.errors import BadInput
from tessera.formats.images import probe
from tessera.formats.keys import check_image_id
from tessera.formats.manifests import ClassInfo

_HEAD = 1 << 16
_MOST = 255


class ClassFolderParams(LayoutParams):
    """``size``: side in pixels to which images are scaled and cut; without it they stay as they are.

    ``classes`` is a file with the names of the folders in index order; without it the order is alphabetical.
    """

    size: int | None = Field(default=None, ge=8, le=4096)


def detect(folder: Path) -> bool:
    """Return whether ``train/`` has at least two sub-folders, the first with an image, and no image of its own."""
    train = folder / "train"
    if not train.is_dir() or (folder / "trainannot").is_dir():
        return False
    entries = [path for path in sorted(train.iterdir()) if not path.name.startswith(".")]
    folders = [path for path in entries if path.is_dir()]
    return len(folders) > 1 and len(folders) == len(entries) and any(map(_is_image, folders[0].iterdir()))


@LAYOUTS.register(
    "class_folders",
    ClassFolderParams,
    LayoutTraits(detect=detect, looks_for="train/CLASS/ with images, one folder a class (val/CLASS/, test/CLASS/)"),
)
def read(folder: Path, params: ClassFolderParams, problems: Problems) -> Source:
    """Read the names of all classes and images."""
    splits_at = split_folders(folder, problems)
    names = [path.name for path in _folders(folder / "train")]
    given = read_classes(params.classes) if params.classes is not None else None
    if given is None and len(names) > _MOST:
        raise BadInput(
            f"{folder / 'train'}: {len(names)} folders of classes; at most {_MOST} are read, since a label has 8 bits"
        )
    infos = given.classes if given else tuple(ClassInfo(name, palette(at + 1)) for at, name in enumerate(names))
    index = {info.name: at for at, info in enumerate(infos)}
    splits = {at.name: tuple(_images(at, index, params.size, problems)) for at in splits_at}
    check_splits(folder, splits, problems)
    if params.size is None:
        _check_sizes([one for samples in splits.values() for one in samples], problems)
    classes = Classes(infos, name=folder.resolve().name, task="classification")
    return Source(classes.name, "class_folders", classes, splits)


def _images(at: Path, index: dict[str, int], size: int | None, problems: Problems) -> list[LabelledImage]:
    found: dict[str, LabelledImage] = {}
    for folder in _folders(at):
        if folder.name not in index:
            known = ", ".join(list(index)[:8])
            problems.add(f"{folder}: {folder.name!r} is no class of the data set ({known} …); rename or remove it")
            continue
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if not _is_image(path):
                problems.add(f"{path}: not a PNG or JPEG file; move it elsewhere or convert it")
                continue
            # The same file names come back in every class and split.
            image_id = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{at.name}-{folder.name}-{path.stem}")
            if image_id in found:
                problems.add(f"{path}: image id {image_id!r} is taken by {found[image_id].image_path}; rename it")
                continue
            try:
                check_image_id(image_id, str(path))
            except BadInput as error:
                problems.add(str(error))
                continue
            label = index[folder.name]
            found[image_id] = LabelledImage(image_id, at.name, path, path, "", 0.0, label=label, side=size)
    if not found:
        problems.add(f"{at}: no images; add some or remove the folder")
    return list(found.values())


def _check_sizes(samples: list[LabelledImage], problems: Problems) -> None:
    """Note the first image whose size differs from that of the first of all; unreadable ones are the import's."""
    first: tuple[LabelledImage, tuple[int, int]] | None = None
    for sample in samples:
        try:
            head = read_file(sample.image_path, _HEAD)
            info = probe(head if len(head) < _HEAD else read_file(sample.image_path), str(sample.image_path))
        except BadInput:
            continue
        size = info.width, info.height
        first = first or (sample, size)
        if size != first[1]:
            problems.add(
                f"{sample.image_path}: {size[0]}×{size[1]} pixels, but {first[0].image_path} has "
                f"{first[1][0]}×{first[1][1]}; a network that classifies needs one size, set size=N"
            )
            return


def _folders(at: Path) -> list[Path]:
    return [path for path in sorted(at.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
