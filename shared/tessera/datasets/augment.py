"""Near-duplicates: a crop scaled back to the image's size, in other colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.recolour import Colours, recoloured

UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Change:
    """Changes of a duplicate: the crop by ``area`` and place (``row``, ``column`` in [0, 1)), factors, turn of hue."""

    area: float
    row: float
    column: float
    brightness: float
    contrast: float
    saturation: float
    hue: float


def draw(rng: np.random.Generator, area: float, colour: float, hue: float) -> Change:
    """Draw a change: place uniform, factors uniform in 1 ± ``colour``, hue uniform in ± ``hue`` (1 is the circle)."""
    row, column = (float(value) for value in rng.random(2))
    brightness, contrast, saturation = (float(value) for value in rng.uniform(1 - colour, 1 + colour, 3))
    return Change(area, row, column, brightness, contrast, saturation, float(rng.uniform(-hue, hue)))


def crop_box(shape: tuple[int, int], change: Change) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the crop in pixels; its sides are the image's times √area."""
    side = math.sqrt(change.area)
    height, width = (max(1, round(extent * side)) for extent in shape)
    top = int(change.row * (shape[0] - height + 1))
    left = int(change.column * (shape[1] - width + 1))
    return top, left, height, width


def apply(rgb: UInt8, labels: UInt8, change: Change) -> tuple[UInt8, UInt8]:
    """Crop both and scale them back, the image bilinearly, labels by nearest neighbour; then recolour the image.

    ``rgb`` (H, W, 3) and ``labels`` (H, W), uint8 both; new arrays of the same shapes. Brightness, contrast (around
    the mean luma), saturation (around each pixel's luma) and hue, in this order.
    """
    from PIL import Image

    rows, columns = labels.shape
    top, left, height, width = crop_box((rows, columns), change)
    at_row = top + ((np.arange(rows) + 0.5) * height / rows).astype(np.intp)
    at_column = left + ((np.arange(columns) + 0.5) * width / columns).astype(np.intp)
    crop = Image.fromarray(np.ascontiguousarray(rgb[top : top + height, left : left + width]))
    scaled = np.asarray(crop.resize((columns, rows), Image.Resampling.BILINEAR))
    colours = Colours(change.brightness, change.contrast, change.saturation, change.hue)
    return recoloured(scaled, colours), labels[np.ix_(at_row, at_column)]
