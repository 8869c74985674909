"""Functions for layouts: lists of names, files by the end of their name, and a test split cut from val."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from tessera.datasets.files import read_text
from tessera.datasets.samples import IMAGE_SUFFIXES, LabelledImage, Problems
from tessera.errors import BadInput
from tessera.formats.keys import check_image_id

SPLITS = ("train", "val", "test")


def find_lists(folder: Path, *sub_folders: str) -> dict[str, Path]:
    """Return the lists ``train.txt``, ``val.txt``, ``test.txt`` of a folder or of its first sub-folder that has one."""
    found = {}
    for split in SPLITS:
        for path in (folder / sub / f"{split}.txt" for sub in (".", *sub_folders)):
            if path.is_file():
                found[split] = path
                break
    return found


def read_list(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are not empty, with their numbers from 1; BadInput when the file is not UTF-8 text."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); write it as UTF-8 text") from None
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def name_of(line: str) -> str:
    """Return the image id of a line: the file name without folders and image extension."""
    name = line.replace("\\", "/").rsplit("/", 1)[-1]
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else name


def listed(path: Path, images: Mapping[str, Path], images_at: Path, problems: Problems) -> dict[str, Path]:
    """Return the images a list names, in its order; the first column of lines with several.

    Names that are listed twice or not in ``images`` are problems, and so is a list that names nothing.
    """
    wanted: dict[str, Path] = {}
    for number, line in read_list(path):
        # A whole line first: plain lists may have names with spaces, which are reported as such elsewhere.
        name = name_of(line)
        name = name if name in images else name_of(line.split()[0])
        if name in wanted:
            problems.add(f"{path}: line {number}: {line!r} is listed twice; list each image once")
        elif name not in images:
            problems.add(f"{path}: line {number}: {line!r} is not in {images_at}; add it or drop the line")
        else:
            wanted[name] = images[name]
    if not wanted:
        problems.add(f"{path}: names no image that exists; name one per line or remove the file")
    return wanted


def files_ending(folder: Path, ending: str, problems: Problems, deep: bool = False) -> dict[str, Path]:
    """Return the files whose name ends with ``ending``, by the rest of the name, sorted; other files are ignored.

    ``deep`` looks into sub-folders as well. Ids that are taken or unusable are problems.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*") if deep else folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(ending) or path.is_dir():
            continue
        name = path.name[: -len(ending)]
        if name in found:
            problems.add(f"{path}: image id {name!r} is taken by {found[name]}; ids are unique")
            continue
        try:
            found[check_image_id(name, str(path))] = path
        except BadInput as error:
            problems.add(str(error))
    return found


def keep(labels: Mapping[str, Path], images: Collection[str]) -> dict[str, Path]:
    """Return the label maps of these images."""
    return {image_id: path for image_id, path in labels.items() if image_id in images}


def hold_out(
    folder: Path, splits: Mapping[str, tuple[LabelledImage, ...]], group: Callable[[LabelledImage], str]
) -> dict[str, tuple[LabelledImage, ...]]:
    """Move about half of val to a new split test.

    Whole groups (a city, a video) move, the largest first and each to the side with fewer images, so that neighbouring
    frames are never on both sides. A single group is cut in the middle of its time. BadInput when there is a test split
    already, or fewer than two images in val.
    """
    val = splits.get("val", ())
    if splits.get("test") or len(val) < 2:
        raise BadInput(
            f"{folder}: test=half cuts a test split from val, but there are {len(splits.get('test', ()))} images in "
            f"test and {len(val)} in val; leave test=half out"
        )
    sizes = Counter(group(sample) for sample in val)
    moved: set[str]
    if len(sizes) == 1:
        ordered = sorted(val, key=lambda sample: (sample.time, sample.image_id))
        moved = {sample.image_id for sample in ordered[(len(ordered) + 1) // 2 :]}
    else:
        chosen: set[str] = set()
        in_test = in_val = 0
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            if in_test <= in_val:
                chosen.add(name)
                in_test += sizes[name]
            else:
                in_val += sizes[name]
        moved = {sample.image_id for sample in val if group(sample) in chosen}
    return {
        **splits,
        "val": tuple(sample for sample in val if sample.image_id not in moved),
        "test": tuple(replace(sample, split="test") for sample in val if sample.image_id in moved),
    }
