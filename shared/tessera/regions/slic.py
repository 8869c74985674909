"""SLIC superpixels by scikit-image's compiled core, called without the rest of that library.

``skimage.segmentation.slic`` imports SciPy for its colour matrices and its masks: 110 MB of a container image, and a
second of each process. What it does around its core for an RGB image is here, bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_XYZ_OF_RGB = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
"""sRGB primaries, D65."""
_WHITE = np.array([0.95047, 1.0, 1.08883])
_TRUNCATE = 4.0
"""Standard deviations after which the Gaussian's kernel ends."""
_SMALLEST, _LARGEST = 0.5, 3.0
"""Sizes of a region after its pieces were joined, in mean sizes."""


def cut(rgb: NDArray[np.uint8], *, count: int, compactness: float, sigma: float, iterations: int) -> NDArray[np.int64]:
    """Cut (H, W, 3) into about ``count`` superpixels (Achanta et al. 2012); labels from 0, each in one piece, (H, W).

    What ``skimage.segmentation.slic(rgb, start_label=0)`` gives: the values are stretched to [0, 1] and converted to
    Lab, then smoothed with ``sigma``, and divided by ``compactness``.
    """
    # The compiled module has no stub.
    from skimage.segmentation._slic import (  # type: ignore[import-not-found]
        _enforce_label_connectivity_cython,
        _slic_cython,
    )
    from skimage.util import regular_grid

    values = np.multiply(rgb, 1.0 / 255.0, dtype=np.float64)[np.newaxis]
    values -= values.min()
    if values.max() != 0:
        values /= values.max()
    image = _lab(values)
    if sigma > 0:
        for axis in range(3):
            image = _smoothed(image, axis, sigma)
    slices = regular_grid(image.shape[:3], count)  # type: ignore[no-untyped-call]
    places = np.mgrid[tuple(slice(0, size) for size in image.shape[:3])]
    seeds = np.stack([place[slices].ravel() for place in places], axis=-1)
    clusters = np.ascontiguousarray(np.concatenate([seeds, np.zeros((len(seeds), 3))], axis=-1), dtype=np.float64)
    step = max(float(one.step) if one.step is not None else 1.0 for one in slices)
    scaled = np.ascontiguousarray(image * (1.0 / compactness))
    labels = _slic_cython(
        scaled, None, clusters, step, iterations, np.ones(3), False, ignore_color=False, start_label=0
    )
    size = math.prod(image.shape[:3]) / len(seeds)
    joined = _enforce_label_connectivity_cython(labels, int(_SMALLEST * size), int(_LARGEST * size), start_label=0)
    return np.asarray(joined[0], dtype=np.int64)


def _lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB in [0, 1], (…, 3), to CIE Lab (IEC 61966-2-1; white D65, observer 2°)."""
    linear = rgb.copy()
    bright = linear > 0.04045
    linear[bright] = np.power((linear[bright] + 0.055) / 1.055, 2.4)
    linear[~bright] /= 12.92
    xyz = linear @ _XYZ_OF_RGB.T / _WHITE
    bright = xyz > 0.008856
    xyz[bright] = np.cbrt(xyz[bright])
    xyz[~bright] = 7.787 * xyz[~bright] + 16.0 / 116.0
    x, y, z = xyz[..., 0], xyz[..., 1], xyz[..., 2]
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def _smoothed(image: NDArray[np.float64], axis: int, sigma: float) -> NDArray[np.float64]:
    """Convolve one axis with a Gaussian, borders mirrored; summed from the ends inwards, as SciPy's ndimage does."""
    radius = int(_TRUNCATE * sigma + 0.5)
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    kernel /= kernel.sum()
    along = np.moveaxis(image, axis, 0)
    padded = np.pad(along, [(radius, radius)] + [(0, 0)] * (along.ndim - 1), mode="symmetric")
    length = len(along)
    total = along * kernel[radius]
    for offset in range(radius, 0, -1):
        before, after = padded[radius - offset :][:length], padded[radius + offset :][:length]
        total = total + (before + after) * kernel[radius - offset]
    return np.ascontiguousarray(np.moveaxis(total, 0, axis))
