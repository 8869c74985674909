"""The native layout: ``images/SPLIT/ID.jpg|png``, ``labels/SPLIT/ID.png``, ``classes.json`` (CamVid copy, street).

With ``unlabelled: true``, images of train may lack their label maps, some or all of them: a run whose oracle is people
asks for what it needs.

Names ``SEQUENCE_FRAME`` give each image its video and its time; ``classes.json`` may state ``frame_rate`` (default 30).
Where ``frames.json`` is there (``{"ID": {"sequence": "NAME", "time": SECONDS}}``), it decides instead of the names, and
images that it leaves out are stills.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import cast

from tessera.datasets.files import read_text
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.samples import (
    LabelledImage,
    Problems,
    Source,
    check_splits,
    image_files,
    pair,
    read_classes,
    split_folders,
)
from tessera.errors import BadInput

FRAMES = "frames.json"


def detect(folder: Path) -> bool:
    """Return whether the folder has the three parts."""
    return (folder / "images").is_dir() and (folder / "labels").is_dir() and (folder / "classes.json").is_file()


class NativeParams(LayoutParams):
    """``unlabelled``: whether images of train may lack their label maps."""

    unlabelled: bool = False


@LAYOUTS.register(
    "native", NativeParams, LayoutTraits(detect=detect, looks_for="images/SPLIT/, labels/SPLIT/ and classes.json")
)
def read(folder: Path, params: NativeParams, problems: Problems) -> Source:
    """Read the names of all images and label maps."""
    classes = read_classes(params.classes or folder / "classes.json")
    splits = read_splits(folder, "labels", classes.frame_rate, problems, params.unlabelled)
    if (folder / FRAMES).is_file():
        places = _read_frames(folder / FRAMES)
        for split, samples in splits.items():
            splits[split] = tuple(_placed(sample, places) for sample in samples)
    return Source(classes.name or folder.resolve().name, "native", classes, splits)


def _placed(sample: LabelledImage, places: dict[str, tuple[str, float]]) -> LabelledImage:
    sequence, time = places.get(sample.image_id, ("", 0.0))
    return replace(sample, sequence=sequence, time=time)


def _read_frames(path: Path) -> dict[str, tuple[str, float]]:
    """Return the video and seconds by image id; BadInput naming the file and the image."""
    try:
        top = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); repair it or remove it") from None
    if not isinstance(top, dict):
        raise BadInput(f"{path}: not an object of image ids; repair it or remove it")
    places = {}
    for image_id, entry in top.items():
        sequence, time = (entry.get("sequence"), entry.get("time")) if isinstance(entry, dict) else (None, None)
        number = isinstance(time, (int, float)) and not isinstance(time, bool) and math.isfinite(time)
        if not isinstance(sequence, str) or not number:
            raise BadInput(f"{path}: {image_id}: {entry!r:.80} is not {{'sequence': 'NAME', 'time': SECONDS}}")
        places[image_id] = (sequence, float(cast(float, time)))
    return places


def _partly(
    images: dict[str, Path], labels: dict[str, Path], labels_at: Path, frame_rate: float | None, problems: Problems
) -> tuple[LabelledImage, ...]:
    """Pair the images that have label maps, and keep the others without; by id."""
    bare = {image_id: path for image_id, path in images.items() if image_id not in labels}
    known = {image_id: path for image_id, path in images.items() if image_id in labels}
    awaited = {image_id: labels_at / f"{image_id}.png" for image_id in bare}
    found = pair("train", known, labels, labels_at, frame_rate, problems)
    asked = pair("train", bare, awaited, labels_at, frame_rate, problems)
    both = {one.image_id: one for one in (*found, *(replace(one, unlabelled=True) for one in asked))}
    return tuple(both[image_id] for image_id in images)


def read_splits(
    folder: Path, labels_name: str, frame_rate: float | None, problems: Problems, unlabelled: bool = False
) -> dict[str, tuple[LabelledImage, ...]]:
    """Pair ``images/SPLIT`` with ``<labels_name>/SPLIT`` for every split; ``unlabelled``: train may lack label maps."""
    splits: dict[str, tuple[LabelledImage, ...]] = {}
    for images_at in split_folders(folder / "images", problems):
        labels_at = folder / labels_name / images_at.name
        images = image_files(images_at, problems)
        if not images:
            problems.add(f"{images_at}: no images; add some or remove the folder")
        elif unlabelled and images_at.name == "train":
            labels = image_files(labels_at, problems) if labels_at.is_dir() else {}
            splits["train"] = _partly(images, labels, labels_at, frame_rate, problems)
            continue
        elif not labels_at.is_dir():
            problems.add(
                f"{labels_at}: missing; it holds the label maps of the {len(images)} images of {images_at.name}"
            )
        else:
            labels = image_files(labels_at, problems)
            splits[images_at.name] = pair(images_at.name, images, labels, labels_at, frame_rate, problems)
            continue
        splits[images_at.name] = ()
    check_splits(folder, splits, problems)
    return splits
