"""Pixels that a drawing of the labelling page covers: the page's own rule, so that what is drawn is what is trained.

Coordinates are whole numbers in sixteenths of a pixel of the image; pixel (x, y) has its centre at (16x + 8, 16y + 8).

- Polygon: a pixel is covered where its centre is inside by the even-odd rule. An edge counts for the rows whose centres
  lie in [upper end, lower end), and toggles every pixel whose centre is at or right of it.
- Stroke: a pixel is covered where its centre is at most the radius away from one of the stroke's points.

The page (``static/label/raster.js``) computes the same in integers below 2^52, which a browser's numbers hold exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNIT = 16
"""Units of a coordinate per pixel."""
_HALF = UNIT // 2

Corner = tuple[int, int]
"""x, y in sixteenths of a pixel."""
Box = tuple[int, int, int, int]
"""Half-open: y0, x0, y1, x1, in pixels."""


def polygon(points: Sequence[Corner], box: Box) -> NDArray[np.bool_]:
    """Return which pixels of a box a closed polygon covers, bool (y1 - y0, x1 - x0)."""
    y0, x0, y1, x1 = box
    toggled = np.zeros((y1 - y0, x1 - x0 + 1), np.uint8)
    for at, first in enumerate(points):
        (ax, ay), (bx, by) = sorted((first, points[(at + 1) % len(points)]), key=lambda corner: corner[1])
        if ay == by:
            continue
        rows = np.arange(max(y0, -((_HALF - ay) // UNIT)), min(y1, -((_HALF - by) // UNIT)), dtype=np.int64)
        along = (ax - _HALF) * (by - ay) + (UNIT * rows + _HALF - ay) * (bx - ax)
        columns = np.clip(-(-along // (UNIT * (by - ay))) - x0, 0, x1 - x0)
        np.bitwise_xor.at(toggled, (rows - y0, columns), 1)
    return np.bitwise_xor.accumulate(toggled, axis=1)[:, :-1].astype(np.bool_)


def stroke(points: Sequence[Corner], radius: int, box: Box) -> NDArray[np.bool_]:
    """Return which pixels of a box a stroke covers, bool (y1 - y0, x1 - x0); ``radius`` is in sixteenths of a pixel."""
    y0, x0, y1, x1 = box
    rows = UNIT * np.arange(y0, y1, dtype=np.int64)[:, None] + _HALF
    columns = UNIT * np.arange(x0, x1, dtype=np.int64)[None, :] + _HALF
    covered = np.zeros((y1 - y0, x1 - x0), np.bool_)
    for x, y in points:
        covered |= (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return covered
