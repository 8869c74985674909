"""imbalanced: training images of a data set of classification, thinned class by class (MAL §4.1: CIFAR100-Imbalanced).

Each of the ratios holds for equally many randomly chosen classes, without replacement: at 1/100 of 500 images the
rarest classes keep 5.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, field_validator

from tessera.datasets.pools import POOLS, PoolImage, kept, others, train_of
from tessera.datasets.samples import LabelledImage, Source
from tessera.errors import BadInput
from tessera.loop.seeds import derive
from tessera.registry import Params


class Imbalanced(Params):
    """``ratios``: which share of a class's images stays, each for as many classes as the others.

    The paper's: 10⁻², 10⁻¹·⁵, 10⁻¹, 10⁻⁰·⁵ and 1. A class keeps at least one image.
    """

    ratios: tuple[float, ...] = Field(default=(0.01, 10**-1.5, 0.1, 10**-0.5, 1.0), min_length=1)

    @field_validator("ratios")
    @classmethod
    def _shares(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < one <= 1 for one in given):
            raise ValueError("a ratio is a share of a class: above 0, at most 1")
        return given


@POOLS.register("imbalanced", Imbalanced)
def choose(source: Source, params: Imbalanced, seed: int) -> tuple[PoolImage, ...]:
    """Draw the classes of each ratio and the images of each class; val and test stay.

    A class keeps round(ratio · images). BadInput where images are not of one class each, and where the classes cannot
    be divided evenly among the ratios.
    """
    by_class: dict[int, list[LabelledImage]] = {}
    for sample in train_of(source):
        if sample.label is None:
            raise BadInput(
                f"pool imbalanced: {sample.image_path} has a map of classes; make the pool from a data set that says "
                "one class per image (layouts cifar and class_folders)"
            )
        by_class.setdefault(sample.label, []).append(sample)
    count = len(params.ratios)
    if len(by_class) % count:
        raise BadInput(
            f"pool imbalanced: {len(by_class)} classes cannot be divided evenly among {count} ratios; give another "
            "number of ratios"
        )
    order = np.random.default_rng(derive(seed, 0, "imbalanced/classes")).permutation(sorted(by_class)).tolist()
    each = len(order) // count
    stays: list[LabelledImage] = []
    for place, label in enumerate(order):
        images = by_class[label]
        keep = max(1, round(params.ratios[place // each] * len(images)))
        # By class, so that another ratio elsewhere moves no image here.
        rows = np.random.default_rng(derive(seed, label, "imbalanced/images")).permutation(len(images))[:keep]
        stays += [images[row] for row in rows.tolist()]
    return (*kept(stays, "train"), *others(source))
