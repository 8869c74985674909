"""The native layout: ``images/SPLIT/ID.jpg|png``, ``labels/SPLIT/ID.png``, ``classes.json`` (CamVid copy, street).

Names ``SEQUENCE_FRAME`` give each image its video and its time; ``classes.json`` may state ``frame_rate`` (default 30).
"""

from __future__ import annotations

from pathlib import Path

from tessera.datasets.layouts import LAYOUTS, LayoutParams
from tessera.datasets.samples import (
    Problems,
    Sample,
    Source,
    check_splits,
    image_files,
    pair,
    read_classes,
    split_folders,
)


def detect(folder: Path) -> bool:
    """Whether the folder has the three parts."""
    return (folder / "images").is_dir() and (folder / "labels").is_dir() and (folder / "classes.json").is_file()


@LAYOUTS.register("native", LayoutParams, detect=detect, looks_for="images/SPLIT/, labels/SPLIT/ and classes.json")
def read(folder: Path, params: LayoutParams, problems: Problems) -> Source:
    """Read the names of all images and label maps."""
    classes = read_classes(params.classes or folder / "classes.json")
    return Source(
        classes.name or folder.resolve().name,
        "native",
        classes,
        read_splits(folder, "labels", classes.frame_rate, problems),
    )


def read_splits(
    folder: Path, labels_name: str, frame_rate: float | None, problems: Problems
) -> dict[str, tuple[Sample, ...]]:
    """Pair ``images/SPLIT`` with ``<labels_name>/SPLIT`` for every split."""
    splits: dict[str, tuple[Sample, ...]] = {}
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
