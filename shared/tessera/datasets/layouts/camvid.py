"""CamVid as SegNet's authors share it: ``train/ trainannot/ val/ valannot/ test/ testannot/``, 480×360, 11 classes.

Label maps hold 0..10 and 11 for unlabelled. Where ``train.txt`` and the like are there, they say which image has which
label map (``IMAGE LABEL`` a line); their paths are from another machine, only the names count.
"""

from __future__ import annotations

from pathlib import Path

from tessera.datasets.definitions.camvid import CLASSES, FRAME_RATE, SEGNET, VOID, place
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.listing import SPLITS, find_lists, name_of, read_list
from tessera.datasets.samples import Classes, LabelledImage, Problems, Source, check_splits, image_files


def detect(folder: Path) -> bool:
    """Return whether the folder has images and annotations of the training split."""
    return (folder / "train").is_dir() and (folder / "trainannot").is_dir()


@LAYOUTS.register(
    "camvid",
    LayoutParams,
    LayoutTraits(
        detect=detect,
        looks_for="train/ and trainannot/ (val, valannot, test, testannot), as in SegNet's copy of CamVid",
    ),
)
def read(folder: Path, params: LayoutParams, problems: Problems) -> Source:
    """Read the names of all images and label maps."""
    splits: dict[str, tuple[LabelledImage, ...]] = {}
    for split in SPLITS:
        if (folder / split).is_dir():
            splits[split] = _split(folder, split, problems)
    check_splits(folder, splits, problems)
    return Source("camvid", "camvid", Classes(CLASSES, VOID, FRAME_RATE), splits, SEGNET)


def _split(folder: Path, split: str, problems: Problems) -> tuple[LabelledImage, ...]:
    annotations = folder / f"{split}annot"
    if not annotations.is_dir():
        problems.add(f"{annotations}: missing; it holds the label maps of {split}")
        return ()
    images, labels = image_files(folder / split, problems), image_files(annotations, problems)
    path = find_lists(folder).get(split)
    pairs = _pairs(path, split, problems) if path else {name: name for name in images}
    samples = []
    for name, label in pairs.items():
        if name not in images:
            problems.add(f"{path}: {name!r} is not in {folder / split}; add it or drop it from the list")
        elif label not in labels:
            problems.add(f"{images[name]}: has no label map {annotations / label}.png; add it or remove the image")
        else:
            samples.append(LabelledImage(name, split, images[name], labels[label], *place(name)))
    if path is None:
        for name in sorted(set(labels) - set(images)):
            problems.add(f"{labels[name]}: a label map without its image; add the image or remove it")
    if not pairs:
        problems.add(f"{path or folder / split}: no images; add some or remove it")
    return tuple(samples)


def _pairs(path: Path, split: str, problems: Problems) -> dict[str, str]:
    """Return the image and label names of a list; one column means that both are named alike.

    Some copies of the list are one long line, so the columns are taken as they come.
    """
    lines = [line.split() for _, line in read_list(path)]
    columns = [column for line in lines for column in line]
    if lines and all(len(line) == 1 for line in lines):
        named = [(name_of(column), name_of(column)) for column in columns]
    elif len(columns) % 2 == 0:
        named = [(name_of(columns[at]), name_of(columns[at + 1])) for at in range(0, len(columns), 2)]
    else:
        problems.add(f"{path}: {len(columns)} names do not make pairs of image and label map; repair the list")
        return {}
    pairs: dict[str, str] = {}
    for name, label in named:
        if name in pairs:
            problems.add(f"{path}: {name!r} is listed twice; list each image of {split} once")
        pairs[name] = label
    return pairs
