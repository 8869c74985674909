"""Checks of samples before any training starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.training.samples import PartialSample, Sample, TrainingData

IGNORE = 255


def check(samples: Sequence[Sample], classes: int, what: str, needed: bool = True) -> None:
    """Raise BadInput naming the first sample that cannot be used; ``what`` names the list."""
    if needed and not samples:
        raise BadInput(f"{what}: no samples; label at least one region before training")
    labelled = 0
    for index, sample in enumerate(samples):
        height, width = sample.target.shape
        if sample.box is not None:
            y0, x0, y1, x1 = sample.box
            inside = min(y0, x0) >= 0 and y1 <= sample.image.shape[0] and x1 <= sample.image.shape[1]
            if not inside or (y1 - y0, x1 - x0) != (height, width):
                raise BadInput(f"{what} sample {index}: box {sample.box} does not fit target and image")
        elif sample.image.shape != (height, width, 3):
            raise BadInput(f"{what} sample {index}: image {sample.image.shape} and target {height}×{width} differ")
        valid = sample.target[sample.target != IGNORE]
        if valid.size and int(valid.max()) >= classes:
            raise BadInput(f"{what} sample {index}: class {int(valid.max())} of {classes}; classes count from 0")
        labelled += int(valid.size)
    if needed and not labelled:
        raise BadInput(f"{what}: every pixel of all {len(samples)} samples is ignored; there is nothing to learn from")


def check_whole_images(data: TrainingData) -> None:
    """Raise BadInput where a network that classifies whole images cannot learn from ``data``.

    Every image has one class, and all have one size: padding would enter the average over the image.
    """
    sizes = {one.image.shape[:2] for part in (data.samples, data.unlabelled) for one in part}
    if len(sizes) > 1:
        (height, width), (other, wide) = sorted(sizes)[0], sorted(sizes)[-1]
        raise BadInput(
            f"training: images of {width}×{height} and of {wide}×{other} pixels, but a network that classifies whole "
            "images averages over all of an image; import the data set with one size (layout class_folders: size=N)"
        )
    for sample in data.samples:
        shown = np.unique(sample.target[sample.target != IGNORE])
        if sample.box is not None or len(shown) > 1:
            name = sample.image_id or "a sample"
            raise BadInput(
                f"training: {name} has classes {', '.join(map(str, shown))} in places, but the network gives an image "
                "one class; use partition image with query dominant on a data set of classification, or a network "
                "that segments"
            )


def check_partial(samples: Sequence[PartialSample], classes: int) -> None:
    """Raise BadInput naming the first image whose partial answers cannot be used."""
    if not any(len(sample.asked) for sample in samples):
        raise BadInput("training: no partial answers; label at least one region before training")
    for sample in samples:
        size = tuple(sample.image.shape[:2])
        if tuple(sample.regions.shape) != size:
            raise BadInput(
                f"training image {sample.image_id}: image {size}, region map {sample.regions.shape}; must be equal"
            )
        if sample.classes.shape != (len(sample.asked), classes + 1):
            raise BadInput(
                f"training image {sample.image_id}: classes are {sample.classes.shape}, expected "
                f"{(len(sample.asked), classes + 1)}: one row per asked region, one column per class and undefined"
            )
        if not sample.classes.any(axis=1).all():
            raise BadInput(f"training image {sample.image_id}: an answer names no class; ask its regions again")
