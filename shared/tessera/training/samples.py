"""Data of a training method: labelled samples, partial answers and images without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray


class Picture(Protocol):
    """An image that is decoded on each access by numpy, so that a large set is never in memory as a whole."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (H, W, 3) without decoding."""
        ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        """Return RGB (H, W, 3) uint8; not to be written to."""
        ...


class RegionMap(Protocol):
    """A region map that is decoded on each access by numpy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (H, W) without decoding."""
        ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.int32]:
        """Return the region ids (H, W) int32, dense from 0; not to be written to."""
        ...


@dataclass(frozen=True)
class Sample:
    """One training or validation example: RGB (H, W, 3) uint8 and class indices (H, W) uint8, 255 ignored.

    With a ``box`` (y0, x0, y1, x1) the image is a whole one and the target covers the box only.
    """

    image: NDArray[np.uint8] | Picture
    target: NDArray[np.uint8]
    box: tuple[int, int, int, int] | None = None
    image_id: str = ""


@dataclass(frozen=True)
class PartialSample:
    """One image with answers about whole regions: which classes each of them shows, not where.

    ``asked`` (n,) holds the ids of the regions with an answer, ascending. ``classes`` (n, C + 1) bool has the classes
    that each answer names; the last column is undefined. Regions that are not in ``asked`` have no answer.
    """

    image_id: str
    image: NDArray[np.uint8] | Picture
    regions: NDArray[np.int32] | RegionMap
    asked: NDArray[np.int64]
    classes: NDArray[np.bool_]


@dataclass(frozen=True)
class Unlabelled:
    """One image of the pool without any label: the type has no place for one."""

    image_id: str
    image: NDArray[np.uint8] | Picture


View = Literal["crops", "windows", "images", "regions"]
"""How answers become samples.

``crops``: each answered region cut out of its image. ``windows``: the whole image and the box of one answer.
``images``: whole images, 255 where nothing is labelled. ``regions``: whole images with partial answers
(`PartialSample`).
"""

UnlabelledKind = Literal["none", "unasked", "asked", "pool"]
"""Images that a method wants without labels: none, those without any answer, those with one, or all of the pool."""


@dataclass(frozen=True)
class Needs:
    """State which data a training method reads."""

    view: View = "images"
    without_pixels: Literal["refuse", "skip"] = "refuse"
    """Whether answers without pixels, under every view but ``regions``, are an error or left out."""
    unlabelled: UnlabelledKind = "none"
    whole: bool = False
    """Whether it also reads the labelled images as under view ``images``, beside the samples of ``view``."""
    previous: bool = False
    """Whether it reads the acquiring weights of the round before; round 0 has none."""


@dataclass(frozen=True)
class TrainingData:
    """The data that `Needs` asks for; the rest is empty."""

    samples: Sequence[Sample] = ()
    partial: Sequence[PartialSample] = ()
    unlabelled: Sequence[Unlabelled] = ()
    whole: Sequence[Sample] = ()
