"""SEEDS superpixels as published: pre-processing, OpenCV's law of block sizes, and the call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.regions.table import compact

FEWEST = 10
"""OpenCV raises smaller requests to this."""


@dataclass(frozen=True)
class Law:
    """The grid that OpenCV makes for a request: it halves a grid of small blocks ``levels`` - 1 times."""

    levels: int
    """Levels really used; fewer than asked for where the blocks would be smaller than a pixel."""
    block: tuple[int, int]
    """Height and width of a block of the finest level, pixels."""
    rows: int
    cols: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that a region starts with, pixels."""
        return self.block[0] << (self.levels - 1), self.block[1] << (self.levels - 1)

    @property
    def count(self) -> int:
        """Number of regions, whatever is in the image."""
        return self.rows * self.cols


def law(shape: tuple[int, int], count: int, levels: int) -> Law:
    """Work out how many regions OpenCV makes of ``count`` asked for in an image of ``shape`` (height, width).

    The rule of ``initialize`` in opencv_contrib's seeds.cpp: 192 at 5 levels are 165 at 480 × 360, 169 are 70.
    BadInput: the image is too small or too long for it (OpenCV itself divides by zero there, or reads past its arrays).
    """
    height, width = shape
    rows = int(np.sqrt(np.float32(max(count, FEWEST)) * np.float32(height) / np.float32(width)))
    cols = rows * width // height
    found = None
    if rows >= 1 and cols >= 1 and 2 * rows <= height and 2 * cols <= width:
        while min(height / rows, width / cols) < 1 << (levels - 1):
            levels -= 1
        scale = 1 << (levels - 1)
        block = (-(-height // (rows * scale)), -(-width // (cols * scale)))
        found = Law(levels, block, height // block[0] >> (levels - 1), width // block[1] >> (levels - 1))
    if found is None or found.count == 0:
        raise BadInput(
            f"partition.seeds: {count} regions cannot be cut from an image of {width}×{height} pixels; "
            "ask for another number or fewer levels, or use partition grid"
        )
    return found


def request(shape: tuple[int, int], size: int, levels: int) -> int:
    """Return the count to ask for so that the regions start as squares of ``size`` pixels, or as near as OpenCV comes.

    Among the counts that mean r rows in the image's proportions, the smallest whose regions come nearest: 192 for
    32 px at 480 × 360, 2,048 at 2048 × 1024, as published. BadInput: no count fits the image at all.
    """
    height, width = shape
    best: tuple[float, int] | None = None
    for rows in range(1, 2 * -(-height // size) + 2):
        count = -(-rows * rows * width // height)
        try:
            nominal = law(shape, count, levels).size
        except BadInput:
            continue
        distance = sum(abs(float(np.log2(side / size))) for side in nominal)
        if best is None or distance < best[0]:
            best = (distance, count)
    if best is None:
        raise BadInput(
            f"partition.seeds: no regions of {size} px can be cut from an image of {width}×{height} pixels; "
            "ask for smaller ones or fewer levels, or use partition grid"
        )
    return max(best[1], FEWEST)


def equalized_hsv(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Equalise with one histogram over all three channels, then convert to float HSV (hue 0 … 360), as published.

    Bitwise what ``skimage.exposure.equalize_hist(rgb).astype(float32)`` gives, by a table of 256 values: 1 ms for 17.
    """
    import cv2

    counts = np.bincount(rgb.ravel(), minlength=256)
    present = np.flatnonzero(counts)
    first, last = int(present[0]), int(present[-1])
    cumulated = counts[first : last + 1].cumsum()
    levels = np.arange(first, last + 1)
    table = np.interp(np.arange(256), levels, cumulated / float(cumulated[-1])).astype(np.float32)
    return np.asarray(cv2.cvtColor(table[rgb], cv2.COLOR_RGB2HSV), dtype=np.float32)


def lab(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert to 8-bit Lab, not equalised."""
    import cv2

    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), dtype=np.uint8)


def cut(
    colours: NDArray[np.uint8] | NDArray[np.float32],
    *,
    count: int,
    levels: int,
    prior: int,
    bins: int,
    iterations: int,
    double_step: bool,
) -> NDArray[np.int32]:
    """Run SEEDS on (H, W, 3) colours; dense ids in order of first appearance, row by row. BadInput as in ``law``."""
    import cv2

    height, width = colours.shape[:2]
    law((height, width), count, levels)
    seeds = cv2.ximgproc.createSuperpixelSEEDS(
        width, height, 3, count, num_levels=levels, prior=prior, histogram_bins=bins, double_step=double_step
    )
    seeds.iterate(colours, iterations)
    regions, _ = compact(np.asarray(seeds.getLabels(), dtype=np.int32))
    return regions
