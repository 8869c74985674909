"""The native layout: ``images/SPLIT/ID.jpg|png``, ``labels/SPLIT/ID.png``, ``classes.json`` (CamVid copy, street).

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


@LAYOUTS.register(
    "native", LayoutParams, LayoutTraits(detect=detect, looks_for="images/SPLIT/, labels/SPLIT/ and classes.json")
)
def read(folder: Path, params: LayoutParams, problems: Problems) -> Source:
    """Read the names of all images and label maps."""
    classes = read_classes(params.classes or folder / "classes.json")
    splits = read_splits(folder, "labels", classes.frame_rate, problems)
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


def read_splits(
    folder: Path, labels_name: str, frame_rate: float | None, problems: Problems
) -> dict[str, tuple[LabelledImage, ...]]:
    """Pair ``images/SPLIT`` with ``<labels_name>/SPLIT`` for every split."""
    splits: dict[str, tuple[LabelledImage, ...]] = {}
    for images_at in split_folders(folder / "images", problems):
        labels_at = folder / labels_name / images_at.name
        images = image_files(images_at, problems)
        if not images:
            problems.add(f"{images_at}: no images; add some or remove the folder")
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
