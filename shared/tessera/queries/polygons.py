"""Polygons of a label map: its components, the vertices of their outlines, and the area they cover."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tessera.queries.question import AnnotatedImage, Question

OUTSIDE = 255
"""Value of an answer's crop outside the region and where the truth is undefined."""


class Component(NamedTuple):
    """One 8-connected component of one class."""

    label: int
    pixels: int
    first: tuple[int, int]
    """Row and column of its first pixel, reading row by row; no two components of a map share it."""
    outlines: tuple[NDArray[np.int32], ...]
    """Outer outline, then holes: (n, 1, 2) vertices x, y after Douglas-Peucker simplification; pixels of the map."""

    @property
    def vertices(self) -> int:
        """Return the number of vertices of all outlines."""
        return sum(len(outline) for outline in self.outlines)


def components(
    truth: NDArray[np.uint8], inside: NDArray[np.bool_], epsilon: float, min_pixels: int = 1, always: bool = False
) -> list[Component]:
    """Find the components of every class of ``truth`` within ``inside`` that have at least ``min_pixels``.

    ``epsilon`` is the tolerance of the outlines, pixels. With ``always`` the largest component is drawn where none is
    large enough, so that no answer is free; of equally large ones the one whose first pixel comes first, row by row,
    whatever its class.
    """
    import cv2

    found: list[tuple[int, int, int, NDArray[np.int32], tuple[int, ...]]] = []
    for label in np.flatnonzero(np.bincount(truth[inside])).tolist():
        pixels = ((truth == label) & inside).astype(np.uint8)
        count, ids, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
        found += [(stats[one, 4].item(), label, one, ids, tuple(stats[one, :4].tolist())) for one in range(1, count)]
    large = [one for one in found if one[0] >= min_pixels]
    if not large and always:
        most = max(size for size, *_ in found)
        large = [one for one in found if one[0] == most]
        return [min((_traced(*one, epsilon) for one in large), key=lambda one: one.first)]
    return [_traced(*one, epsilon) for one in large]


def _traced(
    size: int, label: int, index: int, ids: NDArray[np.int32], box: tuple[int, ...], epsilon: float
) -> Component:
    """Return one component with its outlines. Tracing is slow, so only components that are drawn come here."""
    import cv2

    x, y, width, height = box
    mask = (ids[y : y + height, x : x + width] == index).astype(np.uint8)
    traced, levels = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # One outline has no parent: the outer one.
    order = sorted(range(len(traced)), key=lambda one: int(levels[0, one, 3]) >= 0)
    outlines = tuple(
        np.asarray(cv2.approxPolyDP(traced[one], epsilon, True), np.int32) + np.array([x, y], np.int32) for one in order
    )
    return Component(label, size, (y, x + int(mask[0].argmax())), outlines)


def truth_crop(question: Question) -> NDArray[np.uint8]:
    """Return the truth inside the region, 255 elsewhere and where it is undefined."""
    keep = question.inside & (question.truth != question.ignore_index)
    return np.where(keep, question.truth, OUTSIDE).astype(np.uint8)


def painted(question: Question, parts: list[Component]) -> NDArray[np.uint8]:
    """Draw the polygons of ``parts`` into the region, 255 where none does or the class is undefined.

    Painted from the largest to the smallest, each outer outline filled: what lies in a hole is painted over it.
    """
    import cv2

    canvas = np.full(question.truth.shape, OUTSIDE, np.uint8)
    for one in sorted(parts, key=lambda part: (-part.pixels, part.first)):
        value = OUTSIDE if one.label == question.ignore_index else one.label
        cv2.fillPoly(canvas, [one.outlines[0]], value)
    canvas[~question.inside] = OUTSIDE
    return canvas


@dataclass(frozen=True)
class Vertices:
    """Vertices of an image's polygons: how many lie on each pixel, (H, W), of all classes and of the defined ones."""

    all: NDArray[np.int32]
    defined: NDArray[np.int32]


def vertices(frame: AnnotatedImage, min_pixels: int, epsilon: float) -> Vertices:
    """Count the polygon vertices of the whole image by pixel, components of at least ``min_pixels`` only."""

    def count(image: AnnotatedImage) -> Vertices:
        whole = np.zeros(image.labels.shape, np.int32)
        defined = np.zeros(image.labels.shape, np.int32)
        for one in components(image.labels, np.ones(image.labels.shape, np.bool_), epsilon, min_pixels):
            points = np.concatenate(one.outlines)[:, 0]
            np.add.at(whole, (points[:, 1], points[:, 0]), 1)
            if one.label != image.ignore_index:
                np.add.at(defined, (points[:, 1], points[:, 0]), 1)
        return Vertices(whole, defined)

    return frame.once(("vertices", min_pixels, epsilon), count)


def crossings(question: Question) -> int:
    """Count where a boundary of the truth meets the border between the region and other regions.

    Walking along the border pixel by pixel, one for every change of class; the edge of the image is no border, since
    the image's polygons have their vertices there.
    """
    y0, x0, y1, x1 = question.box
    height, width = question.frame.labels.shape
    inside = np.pad(question.inside, 1)
    truth = np.pad(question.truth, 1)
    other = ~inside
    # What lies beyond the image is no other region.
    other[0, :] &= y0 > 0
    other[-1, :] &= y1 < height
    other[:, 0] &= x0 > 0
    other[:, -1] &= x1 < width
    return sum(_crossings(*turned) for turned in _turns(inside, other, truth))


def _turns(*arrays: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    for quarter in range(4):
        yield tuple(np.rot90(array, quarter) for array in arrays)


def _crossings(inside: NDArray[np.bool_], other: NDArray[np.bool_], truth: NDArray[np.uint8]) -> int:
    """Return the changes of class along the region's lower border and around its inner corners."""
    a, b, under_a, under_b = inside[:-1, :-1], inside[:-1, 1:], other[1:, :-1], other[1:, 1:]
    straight = a & b & under_a & under_b & (truth[:-1, :-1] != truth[:-1, 1:])
    # Three pixels of a square are the region's, the lower left one is not: the border goes around it.
    corner = a & b & inside[1:, 1:] & under_a & (truth[:-1, :-1] != truth[1:, 1:])
    return int(np.count_nonzero(straight) + np.count_nonzero(corner))
