"""CamVid as published: ``701_StillsRaw_full/`` and ``LabeledApproved_full/NAME_L.png`` in 32 colours, 960×720.

By default the 32 are grouped to the usual 11 and the images split as SegNet's lists do; ``grouping=32`` keeps the 31
classes and void apart. ``label_colors.txt`` is checked against the definition when it is there, and lists
``train.txt``, ``val.txt``, ``test.txt`` (in the folder or in ``splits/``) replace the split.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from tessera.datasets.definitions.camvid import (
    CLASSES,
    FINE,
    FINE_CLASSES,
    FRAME_RATE,
    GROUPED,
    ORIGINAL,
    VOID,
    place,
    split_of,
)
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.listing import SPLITS, files_ending, find_lists, keep, listed, read_list
from tessera.datasets.samples import Classes, LabelledImage, Problems, Source, check_splits, image_files, pair
from tessera.errors import BadInput

_IMAGES, _LABELS, _COLOURS = "701_StillsRaw_full", "LabeledApproved_full", "label_colors.txt"


class Original(LayoutParams):
    """``grouping``: 11 classes, or all of the 32 colours apart."""

    grouping: Literal[11, 32] = 11


def detect(folder: Path) -> bool:
    """Return whether the folder has both parts."""
    return (folder / _IMAGES).is_dir() and (folder / _LABELS).is_dir()


@LAYOUTS.register("camvid_original", Original, LayoutTraits(detect=detect, looks_for=f"{_IMAGES}/ and {_LABELS}/"))
def read(folder: Path, params: Original, problems: Problems) -> Source:
    """Read the names of all images and label maps; BadInput when the colour list contradicts the definition."""
    for path in (folder / _COLOURS, folder / _LABELS / _COLOURS):
        if path.is_file():
            _check_colours(path)
    images = image_files(folder / _IMAGES, problems)
    labels = files_ending(folder / _LABELS, "_L.png", problems)
    lists = find_lists(folder, "splits")
    splits: dict[str, tuple[LabelledImage, ...]] = {}
    if lists:
        for split, path in lists.items():
            wanted = listed(path, images, folder / _IMAGES, problems)
            splits[split] = _samples(folder, split, wanted, keep(labels, wanted), problems)
    else:
        for name in images:
            if split_of(name) is None:
                problems.add(f"{images[name]}: not a frame of the four videos, so its split is unknown; list it")
        for name in sorted(set(labels) - set(images)):
            problems.add(f"{labels[name]}: a label map without its image; add the image or remove it")
        for split in SPLITS:
            of = {name: path for name, path in images.items() if split_of(name) == split}
            if of:
                splits[split] = _samples(folder, split, of, keep(labels, of), problems)
    check_splits(folder, splits, problems)
    classes, code = (CLASSES, GROUPED) if params.grouping == 11 else (FINE_CLASSES, FINE)
    return Source("camvid", "camvid_original", Classes(classes, VOID, FRAME_RATE), splits, code)


def _samples(
    folder: Path, split: str, images: dict[str, Path], labels: dict[str, Path], problems: Problems
) -> tuple[LabelledImage, ...]:
    samples = pair(split, images, labels, folder / _LABELS, None, problems, lambda name: f"{name}_L.png")
    return tuple(replace(sample, sequence=at[0], time=at[1]) for sample in samples if (at := place(sample.image_id)))


def _check_colours(path: Path) -> None:
    """Compare ``R G B NAME`` lines with the definition."""
    for number, line in read_list(path):
        parts = line.split()
        if len(parts) != 4 or parts[3] not in ORIGINAL:
            raise BadInput(f"{path}: line {number}: {line!r} is not R G B and one of the 32 classes; restore the file")
        expected = ORIGINAL[parts[3]][0]
        if parts[:3] != [str(part) for part in expected]:
            raise BadInput(
                f"{path}: line {number}: {parts[3]} is {' '.join(parts[:3])}, not {' '.join(map(str, expected))}; "
                "these are not CamVid's colours"
            )
