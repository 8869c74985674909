"""Plain folders: ``images/`` and ``masks/``, with a sub-folder per split or lists ``train.txt``, ``val.txt`` ….

A list has one image a line, by id or file name, and lies beside ``images/`` or in ``splits/``. Classes come from
``classes.json`` or ``classes.txt`` in the folder, or from the file the user names. Names say nothing about videos.
"""

from __future__ import annotations

from pathlib import Path

from tessera.datasets.layouts import LAYOUTS, LayoutParams
from tessera.datasets.layouts.native import read_splits
from tessera.datasets.samples import (
    IMAGE_SUFFIXES,
    Classes,
    Problems,
    Sample,
    Source,
    check_splits,
    image_files,
    pair,
    read_classes,
)
from tessera.errors import BadInput

_LISTS = ("train", "val", "test")


def detect(folder: Path) -> bool:
    """Whether the folder has images and masks."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


@LAYOUTS.register(
    "folders",
    LayoutParams,
    detect=detect,
    looks_for="images/ and masks/, with sub-folders train, val, test or lists train.txt, val.txt, test.txt",
)
def read(folder: Path, params: LayoutParams, problems: Problems) -> Source:
    """Read the names of all images and masks."""
    classes = _classes(folder, params)
    lists = _lists(folder)
    splits = _by_list(folder, lists, problems) if lists else read_splits(folder, "masks", None, problems)
    return Source(classes.name or folder.resolve().name, "folders", classes, splits)


def _classes(folder: Path, params: LayoutParams) -> Classes:
    if params.classes is not None:
        return read_classes(params.classes)
    for name in ("classes.json", "classes.txt"):
        if (folder / name).is_file():
            return read_classes(folder / name)
    raise BadInput(f"{folder}: neither classes.json nor classes.txt; add one or name a file with --classes FILE")


def _lists(folder: Path) -> dict[str, Path]:
    found = {}
    for split in _LISTS:
        for path in (folder / f"{split}.txt", folder / "splits" / f"{split}.txt"):
            if path.is_file():
                found[split] = path
                break
    return found


def _by_list(folder: Path, lists: dict[str, Path], problems: Problems) -> dict[str, tuple[Sample, ...]]:
    images, masks = image_files(folder / "images", problems), image_files(folder / "masks", problems)
    splits: dict[str, tuple[Sample, ...]] = {}
    for split, path in lists.items():
        wanted: dict[str, Path] = {}
        for number, line in enumerate(_lines(path), start=1):
            image_id = _image_id(line)
            if not image_id:
                continue
            if image_id in wanted:
                problems.add(f"{path}: line {number}: {line!r} is listed twice; list each image once")
            elif image_id not in images:
                problems.add(f"{path}: line {number}: {line!r} is not in {folder / 'images'}; add it or drop the line")
            else:
                wanted[image_id] = images[image_id]
        if not wanted:
            problems.add(f"{path}: lists no image that exists; list one a line or remove the file")
        labels = {image_id: masks[image_id] for image_id in wanted if image_id in masks}
        splits[split] = pair(split, wanted, labels, folder / "masks", None, problems)
    check_splits(folder, splits, problems)
    return splits


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); write it as UTF-8 text") from None


def _image_id(line: str) -> str:
    name = line.replace("\\", "/").rsplit("/", 1)[-1]
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else name
