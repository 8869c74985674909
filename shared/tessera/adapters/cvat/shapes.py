"""CVAT's shapes, and the pixels that they cover.

Coordinates are pixels of the image with (0, 0) its upper left corner, so the centre of pixel (x, y) is (x + ½, y + ½).
CVAT draws so on its canvas, and pycocotools, with which it exports, fills so: a polygon along pixel edges covers the
same pixels everywhere. Along slanted edges pycocotools walks in fifths of a pixel and may decide otherwise for centres
less than a quarter of a pixel away from them; `tessera.queries.drawing` decides here, as for the labelling page.
Masks are exact. A polygon that was traced through the centres of a mask's outermost pixels (CVAT's "convert masks to
polygons") has lost half a pixel on each side: that is not undone here, because nothing in the file tells of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.queries.drawing import UNIT, Box, polygon
from tessera.queries.given import mask_to_runs, runs_to_mask

AREAS: Final = ("mask", "polygon", "rectangle")
"""Kinds of shapes that cover pixels."""
_FAR: Final = 1 << 24
"""Largest coordinate, pixels: keeps sixteenths of a pixel and their products within 63 bits."""


@dataclass(frozen=True)
class CvatAttribute:
    """An attribute that every shape of a label has."""

    name: str
    input_type: str
    """select, radio, checkbox, number or text."""
    values: tuple[str, ...]
    default: str
    mutable: bool = False


@dataclass(frozen=True)
class CvatLabel:
    """A label of a project or task."""

    name: str
    color: str
    """``#rrggbb``."""
    kind: str = "any"
    """Shapes that may have it: any, mask, points, tag, …"""
    attributes: tuple[CvatAttribute, ...] = ()


@dataclass(frozen=True)
class CvatShape:
    """A shape or tag of an image, with the numbers that CVAT's API gives it."""

    kind: str
    """mask, polygon, rectangle, points, tag, or another of CVAT's."""
    label: str
    points: tuple[float, ...] = ()
    """x, y in turn. Of a mask: lengths of runs in its box row by row, outside first; left, top, right, bottom, the
    last two inclusive. Of a tag: none."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    z_order: int = 0
    source: str = "manual"
    """manual, auto or file."""


@dataclass(frozen=True)
class CvatImage:
    """An image of a task, with its shapes and tags in CVAT's order."""

    name: str
    width: int
    height: int
    shapes: tuple[CvatShape, ...] = ()


def mask_shape(mask: NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> tuple[float, ...]:
    """Return ``CvatShape.points`` of a bool (H, W) mask whose upper left pixel is at ``corner`` (y, x) of the image.

    BadInput for a mask without a pixel: CVAT has none such.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not ys.size:
        raise BadInput("mask: has no pixel; leave it out")
    y0, y1, x0, x1 = int(ys[0]), int(ys[-1]), int(xs[0]), int(xs[-1])
    runs = mask_to_runs(mask[y0 : y1 + 1, x0 : x1 + 1])
    top, left = corner
    return (*runs, left + x0, top + y0, left + x1, top + y1)


def covered(shape: CvatShape, box: Box) -> NDArray[np.bool_]:
    """Return the pixels of a box of the image that a shape covers, bool (y1 - y0, x1 - x0).

    BadInput: a shape that covers no area by its kind, or whose numbers are none.
    """
    if shape.kind == "mask":
        return _cropped(*_mask(shape), box)
    if shape.kind == "rectangle":
        x0, y0, x1, y1 = _numbers(shape, 4)
        return _filled([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], box)
    if shape.kind == "polygon":
        numbers = _numbers(shape)
        return _filled(list(zip(numbers[::2], numbers[1::2], strict=True)), box)
    raise BadInput(f"shape {shape.kind!a} of label {shape.label!a}: covers no pixels; draw a {', '.join(AREAS)}")


def _filled(corners: Sequence[tuple[float, float]], box: Box) -> NDArray[np.bool_]:
    return polygon([(round(UNIT * x), round(UNIT * y)) for x, y in corners], box)


def _mask(shape: CvatShape) -> tuple[NDArray[np.bool_], int, int]:
    """Return a mask's pixels, and top and left of its box."""
    numbers = _numbers(shape)
    if len(numbers) < 5 or any(value != math.floor(value) for value in numbers):
        raise BadInput(f"mask of label {shape.label!a}: give whole lengths of runs, then left, top, right and bottom")
    *runs, left, top, right, bottom = (int(value) for value in numbers)
    if min(runs) < 0 or right < left or bottom < top or (right - left + 1) * (bottom - top + 1) > _FAR:
        raise BadInput(f"mask of label {shape.label!a}: its box or its runs are no mask's")
    try:
        return runs_to_mask(runs, bottom - top + 1, right - left + 1), top, left
    except BadInput as error:
        raise BadInput(f"mask of label {shape.label!a}: {str(error).removeprefix('region: ')}") from None


def _cropped(mask: NDArray[np.bool_], top: int, left: int, box: Box) -> NDArray[np.bool_]:
    y0, x0, y1, x1 = box
    made = np.zeros((y1 - y0, x1 - x0), np.bool_)
    ya, yb = max(top, y0), min(top + mask.shape[0], y1)
    xa, xb = max(left, x0), min(left + mask.shape[1], x1)
    if ya < yb and xa < xb:
        made[ya - y0 : yb - y0, xa - x0 : xb - x0] = mask[ya - top : yb - top, xa - left : xb - left]
    return made


def _numbers(shape: CvatShape, count: int = 0) -> tuple[float, ...]:
    numbers = shape.points
    if not all(math.isfinite(value) and abs(value) <= _FAR for value in numbers):
        raise BadInput(f"{shape.kind} of label {shape.label!a}: a coordinate is not finite or over {_FAR:,}")
    if count and len(numbers) != count:
        raise BadInput(f"{shape.kind} of label {shape.label!a}: {len(numbers)} numbers, not {count}")
    if shape.kind != "mask" and (len(numbers) % 2 or (not count and len(numbers) < 6)):
        raise BadInput(f"{shape.kind} of label {shape.label!a}: {len(numbers)} numbers are no corners x, y")
    return numbers


def layers(shapes: Iterable[CvatShape], values: Mapping[str, int], box: Box) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield class index and pixels of a box for each area whose label is in ``values``, from the lowest to the highest.

    The order is by ``z_order``, then by place in the file, as CVAT shows them and exports masks.
    """
    areas = [one for one in shapes if one.kind in AREAS and one.label in values]
    for one in sorted(areas, key=lambda shape: shape.z_order):
        yield values[one.label], covered(one, box)
