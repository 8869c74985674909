"""Geometry of regions: neighbours, boundary pixels and outlines as polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.regions.table import region_table

Polygon = NDArray[np.int32]
"""(N, 2) corners x, y on the pixel grid (pixel (y, x) is the square x … x+1, y … y+1), closed implicitly."""


def adjacency(regions: NDArray[np.int32], diagonal: bool = False) -> NDArray[np.int32]:
    """List the pairs of regions that touch: int32 (E, 2), a < b, sorted, without repeats.

    Regions touch where two pixels share a side, or with ``diagonal`` also a corner.
    """
    views = [(regions[:, :-1], regions[:, 1:]), (regions[:-1], regions[1:])]
    if diagonal:
        views += [(regions[:-1, :-1], regions[1:, 1:]), (regions[:-1, 1:], regions[1:, :-1])]
    codes = []
    count = int(regions.max()) + 1
    for first, second in views:
        differ = first != second
        a, b = first[differ].astype(np.int64), second[differ].astype(np.int64)
        codes.append(np.unique(np.minimum(a, b) * count + np.maximum(a, b)))
    pairs = np.unique(np.concatenate(codes))
    return np.stack([pairs // count, pairs % count], axis=1).astype(np.int32)


def boundaries(regions: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Mark the pixels with a side neighbour of another region: bool (H, W), both sides of every boundary.

    The same set as ``skimage.segmentation.find_boundaries(mode="thick")``; the edge of the image is no boundary.
    """
    mask = np.zeros(regions.shape, dtype=np.bool_)
    across = regions[:, :-1] != regions[:, 1:]
    mask[:, :-1] |= across
    mask[:, 1:] |= across
    down = regions[:-1] != regions[1:]
    mask[:-1] |= down
    mask[1:] |= down
    return mask


def boundary_band(regions: NDArray[np.int32], width: int = 5) -> NDArray[np.bool_]:
    """Mark the pixels near a boundary: ``boundaries`` dilated with a width × width square, bool (H, W).

    The pixels that an annotator's click does not have to answer for (MulActSeg's published code: thick boundaries and a
    5 × 5 square). Width 1 is the boundary itself, 0 marks nothing. BadInput: a negative or another even width, whose
    square has no middle.
    """
    if width < 0 or (width % 2 == 0 and width != 0):
        raise BadInput(f"boundary band of width {width}; give 0 for none, or an odd number such as 5")
    if width == 0:
        return np.zeros(regions.shape, dtype=np.bool_)
    band = boundaries(regions)
    reach = width // 2
    # A square is a row after a column: two passes of 2·reach shifts each.
    for axis in (0, 1):
        near = band.copy()
        for shift in range(1, min(reach, band.shape[axis] - 1) + 1):
            here, there = [slice(None)] * 2, [slice(None)] * 2
            here[axis], there[axis] = slice(shift, None), slice(None, -shift)
            near[tuple(here)] |= band[tuple(there)]
            near[tuple(there)] |= band[tuple(here)]
        band = near
    return band


def outlines(regions: NDArray[np.int32], ids: Sequence[int] | None = None) -> dict[int, list[Polygon]]:
    """Trace the outline of each region (of ``ids``, or of all) along the pixel edges.

    Every region becomes one or more closed polygons: outer ones and, turning the other way, its holes; drawn together
    with the even-odd rule they cover exactly the region's pixels. BadInput: an id that the map does not have.
    """
    table = region_table(regions)
    wanted = range(len(table)) if ids is None else ids
    result = {}
    for region_id in wanted:
        y0, x0, y1, x1 = table.box(int(region_id))
        offset = np.array([x0, y0], dtype=np.int32)
        polygons = _trace(regions[y0:y1, x0:x1] == region_id)
        result[int(region_id)] = [polygon + offset for polygon in polygons]
    return result


def _trace(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Chain the pixel edges around ``mask``, the inside always on the right hand, into corner polygons."""
    padded = np.pad(mask, 1)
    core = padded[1:-1, 1:-1]
    # Directions: 0 east (top edge), 1 south (right edge), 2 west (bottom edge), 3 north (left edge).
    starts: dict[tuple[int, int], list[int]] = {}
    for direction, neighbour, shift in (
        (0, padded[:-2, 1:-1], (0, 0)),
        (1, padded[1:-1, 2:], (1, 0)),
        (2, padded[2:, 1:-1], (1, 1)),
        (3, padded[1:-1, :-2], (0, 1)),
    ):
        ys, xs = np.nonzero(core & ~neighbour)
        for y, x in zip((ys + shift[1]).tolist(), (xs + shift[0]).tolist(), strict=True):
            starts.setdefault((x, y), []).append(direction)
    steps = ((1, 0), (0, 1), (-1, 0), (0, -1))
    polygons = []
    for start in sorted(starts, key=lambda corner: (corner[1], corner[0])):
        while starts.get(start):
            corners: list[tuple[int, int]] = []
            point, previous = start, -1
            while leaving := starts.get(point):
                # Where two pixels touch by a corner only, turn right, so that each has its own loop.
                right = (previous + 1) % 4
                direction = right if previous >= 0 and right in leaving else leaving[0]
                leaving.remove(direction)
                if direction != previous:
                    corners.append(point)
                previous = direction
                point = (point[0] + steps[direction][0], point[1] + steps[direction][1])
                if point == start and (previous + 1) % 4 not in starts[start]:
                    break
            polygons.append(np.array(_without_straight_start(corners), dtype=np.int32))
    return polygons


def _without_straight_start(corners: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Drop the first point where the outline runs straight through it."""
    (x0, y0), (x1, y1), (x2, y2) = corners[-1], corners[0], corners[1]
    return corners[1:] if (x1 - x0) * (y2 - y1) == (y1 - y0) * (x2 - x1) else corners
