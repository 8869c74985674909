"""Bilinear upsampling (align_corners=False) at single pixels of maps of lower resolution.

Upsampling is linear, so dot products with a prototype may be taken first and upsampled afterwards, window by window.
Features of 256 channels are never upsampled to full size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tessera.models.upsample import Between

Floats = NDArray[np.float32]


def upsampled(maps: Floats, rows: Between, columns: Between) -> Floats:
    """Return maps (M, h, w) at the pixels of ``rows`` × ``columns``: (M, H, W)."""
    weight = rows.weight[:, None]
    tall = maps[:, rows.lower] * (1.0 - weight) + maps[:, rows.upper] * weight
    made: Floats = tall[:, :, columns.lower] * (1.0 - columns.weight) + tall[:, :, columns.upper] * columns.weight
    return made


def vectors(maps: Floats, rows: Between, columns: Between) -> Floats:
    """Return maps (D, h, w) at the n pixels (rows[i], columns[i]): (n, D)."""
    y, x = rows.weight, columns.weight
    made: Floats = (
        maps[:, rows.lower, columns.lower] * ((1.0 - y) * (1.0 - x))
        + maps[:, rows.lower, columns.upper] * ((1.0 - y) * x)
        + maps[:, rows.upper, columns.lower] * (y * (1.0 - x))
        + maps[:, rows.upper, columns.upper] * (y * x)
    ).T
    return made


def lengths(maps: Floats, rows: Between, columns: Between) -> Floats:
    """Return the lengths (H, W) of the upsampled vectors of maps (D, h, w) at the pixels of ``rows`` × ``columns``.

    |Σ_i w_i f_i|² = Σ_ij w_i w_j f_i·f_j over the four cells around a pixel: ten products.
    """
    below = np.concatenate([maps[:, 1:], maps[:, -1:]], axis=1)
    right = np.concatenate([maps[:, :, 1:], maps[:, :, -1:]], axis=2)
    corner = np.concatenate([below[:, :, 1:], below[:, :, -1:]], axis=2)
    cells = (maps, right, below, corner)
    y, x = rows.weight[:, None], columns.weight[None, :]
    weights = ((1.0 - y) * (1.0 - x), (1.0 - y) * x, y * (1.0 - x), y * x)
    square = np.zeros((len(rows.lower), len(columns.lower)), np.float32)
    at = np.ix_(rows.lower, columns.lower)
    for i in range(4):
        for j in range(i, 4):
            product = np.einsum("dhw,dhw->hw", cells[i], cells[j])[at]
            square += (1.0 if i == j else 2.0) * weights[i] * weights[j] * product
    made: Floats = np.sqrt(np.maximum(square, 0.0))
    return made
