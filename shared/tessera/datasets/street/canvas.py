"""A frame being painted: colour, class and distance per pixel, and the camera that maps the street onto it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

NEAR = 1.2
TILE = 256


@dataclass(frozen=True)
class Camera:
    """A pinhole camera ``height`` metres up, looking along z; vanishing point ``u0``, ``v0``, ``focal`` in pixels."""

    width: int
    rows: int
    focal: float
    u0: float
    v0: float
    x: float
    z: float
    height: float

    def project(self, x: float, y: float, depth: float) -> tuple[float, float]:
        """Return the column and row of a point ``depth`` metres ahead, ``y`` metres up."""
        scale = self.focal / depth
        return self.u0 + (x - self.x) * scale, self.v0 + (self.height - y) * scale


@dataclass
class Canvas:
    """Painted back to front; ``depth`` in metres, infinite for the sky."""

    rgb: UInt8
    labels: UInt8
    depth: Float

    @classmethod
    def empty(cls, height: int, width: int) -> Canvas:
        """Return an empty canvas."""
        return cls(
            np.zeros((height, width, 3), np.uint8),
            np.zeros((height, width), np.uint8),
            np.full((height, width), np.inf, np.float32),
        )

    def paste(self, picture: UInt8, box: tuple[float, float, float, float], label: int, depth: float) -> None:
        """Scale ``picture`` (h, w, 4: RGB and cover) to ``box`` (u0, v0, u1, v1) and blend it in.

        Pixels at least half covered take ``label`` and ``depth``.
        """
        rows, columns = self.labels.shape
        left, top = round(box[0]), round(box[1])
        width, height = max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
        if (
            width > 3 * columns
            or height > 3 * rows
            or min(left + width, top + height) <= 0
            or left >= columns
            or top >= rows
        ):
            return
        how = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_LINEAR
        scaled = cv2.resize(picture, (width, height), interpolation=how)
        inside = (slice(max(top, 0), min(top + height, rows)), slice(max(left, 0), min(left + width, columns)))
        part = scaled[inside[0].start - top : inside[0].stop - top, inside[1].start - left : inside[1].stop - left]
        weight = part[..., 3:].astype(np.float32) / 255
        under = self.rgb[inside]
        self.rgb[inside] = under + ((part[..., :3].astype(np.float32) - under) * weight).astype(np.int16)
        covered = part[..., 3] >= 128
        self.labels[inside][covered] = label
        self.depth[inside][covered] = depth


@lru_cache(maxsize=4)
def noise_tile(seed: int) -> Float:
    """Return a tileable noise picture (256, 256) float32 with zero mean and unit deviation, detail at every scale."""
    rng = np.random.default_rng([seed, 77])
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE)))
    rows = np.fft.fftfreq(TILE)[:, None] * TILE
    columns = np.fft.rfftfreq(TILE)[None, :] * TILE
    frequency = np.maximum(np.hypot(rows, columns), 1.0)
    tile = np.fft.irfft2(spectrum / frequency**0.9, s=(TILE, TILE))
    result: Float = ((tile - tile.mean()) / tile.std()).astype(np.float32)
    return result


def lookup(tile: Float, a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> Float:
    """Return the noise at (a, b), in texels, repeating."""
    found: Float = tile[a.astype(np.int32) & (TILE - 1), b.astype(np.int32) & (TILE - 1)]
    return found
