"""Pictures of trees, people, cyclists and signs, drawn once from a seed and scaled into frames.

A sprite is uint8 (H, W, 4): RGB and cover; its bottom edge stands on the ground.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from tessera.datasets.street.canvas import TILE, UInt8, noise_tile
from tessera.datasets.street.style import Colour, shared_colour

Sprite = UInt8
# Drawn at twice the size and halved, so that edges are smooth.
_SCALE = 2
_SKIN = ((236, 188, 160), (198, 140, 106), (140, 92, 66), (84, 56, 42))


class _Pen:
    """Draws shapes in a unit box (0..1 across, 0..1 down) on colour and cover at once."""

    def __init__(self, height: int, width: int) -> None:
        self.rgb = np.zeros((height * _SCALE, width * _SCALE, 3), np.uint8)
        self.alpha = np.zeros((height * _SCALE, width * _SCALE), np.uint8)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        rows, columns = self.alpha.shape
        corners = np.array([(x * columns, y * rows) for x, y in points]).round().astype(np.int32)
        cv2.fillPoly(self.rgb, [corners], colour)
        cv2.fillPoly(self.alpha, [corners], 255)

    def ellipse(self, x: float, y: float, a: float, b: float, colour: Colour, thickness: int = -1) -> None:
        rows, columns = self.alpha.shape
        centre, axes = (round(x * columns), round(y * rows)), (max(1, round(a * columns)), max(1, round(b * rows)))
        cv2.ellipse(self.rgb, centre, axes, 0, 0, 360, colour, thickness)
        cv2.ellipse(self.alpha, centre, axes, 0, 0, 360, 255, thickness)

    def limb(self, points: list[tuple[float, float]], colour: Colour, width: float) -> None:
        rows, columns = self.alpha.shape
        corners = np.array([(x * columns, y * rows) for x, y in points]).round().astype(np.int32)
        thick = max(1, round(width * columns))
        cv2.polylines(self.rgb, [corners], False, colour, thick)
        cv2.polylines(self.alpha, [corners], False, 255, thick)

    def finish(self, seed: int, texture: float = 0.10, light: float = 0.25) -> Sprite:
        """Add texture and light from above, and halve the size; colour spreads under soft edges."""
        rows, columns = self.alpha.shape
        top, left = seed * 37 % (TILE - rows), seed * 91 % (TILE - columns)
        grain = noise_tile(0)[top : top + rows, left : left + columns]
        shade = (
            np.maximum(1 + texture * grain, 0)
            * np.linspace(1 + light / 2, 1 - light / 2, rows, dtype=np.float32)[:, None]
        )
        rgb = cv2.multiply(self.rgb.astype(np.float32), cv2.merge([shade, shade, shade]))
        size = (columns // _SCALE, rows // _SCALE)
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(self.alpha, size, interpolation=cv2.INTER_AREA)
        full = np.minimum(small * (255 / np.maximum(alpha, 1).astype(np.float32))[..., None], 255)
        picture = np.empty((*alpha.shape, 4), np.uint8)
        picture[..., :3], picture[..., 3] = full, alpha
        return picture


@lru_cache(maxsize=512)
def person(seed: int, colour: Colour, phase: int) -> Sprite:
    """Return a walking person, 64 × 32; ``phase`` 0..3 is the step."""
    rng = np.random.default_rng([seed, 1])
    pen = _Pen(64, 32)
    trousers, hair = shared_colour(rng), (30 + rng.uniform(0, 90), 26 + rng.uniform(0, 60), 22 + rng.uniform(0, 40))
    skin = _SKIN[int(rng.integers(len(_SKIN)))]
    stride = (0.16, 0.05, -0.16, -0.05)[phase % 4]
    wide = rng.uniform(0.15, 0.22)
    for sign in (-1, 1):
        foot = 0.5 + sign * stride
        pen.limb([(0.5 + sign * 0.06, 0.52), (0.5 + sign * stride * 0.6 + 0.02, 0.76), (foot, 0.97)], trousers, 0.13)
        pen.limb([(foot - 0.02, 0.985), (foot + 0.07, 0.985)], (32, 30, 30), 0.06)
    if rng.random() < 0.3:  # a skirt or a long coat
        pen.polygon([(0.5 - wide, 0.4), (0.5 + wide, 0.4), (0.5 + wide * 1.3, 0.72), (0.5 - wide * 1.3, 0.72)], colour)
    pen.polygon(
        [(0.5 - wide, 0.2), (0.5 - 0.08, 0.165), (0.5 + 0.08, 0.165), (0.5 + wide, 0.2), (0.5 + wide * 0.85, 0.56),
         (0.5 - wide * 0.85, 0.56)], colour,
    )  # fmt: skip
    for sign in (-1, 1):
        swing = 0.5 + sign * (wide + 0.02) - sign * stride * 0.5
        pen.limb([(0.5 + sign * wide * 0.9, 0.22), (swing, 0.4), (swing + stride * 0.4, 0.54)], colour, 0.10)
    if rng.random() < 0.35:
        pen.ellipse(0.5 + wide, 0.5, 0.10, 0.08, shared_colour(rng))
    pen.ellipse(0.5, 0.09, 0.10, 0.075, skin)
    pen.ellipse(0.5, 0.06, 0.105, 0.05, hair)
    return pen.finish(seed)


@lru_cache(maxsize=256)
def cyclist(seed: int, colour: Colour, phase: int) -> Sprite:
    """Return a person on a bicycle seen at an angle, 64 × 48."""
    rng = np.random.default_rng([seed, 2])
    pen = _Pen(64, 48)
    frame, trousers, dark = shared_colour(rng), shared_colour(rng), (28.0, 28.0, 30.0)
    for x in (0.25, 0.75):
        # Spokes and what is seen through them: part of the bicycle in every labelling guide.
        pen.ellipse(x, 0.8, 0.19, 0.18, (104, 106, 108))
        pen.ellipse(x, 0.8, 0.19, 0.18, dark, 2 * _SCALE)
        pen.ellipse(x, 0.8, 0.03, 0.03, dark)
    pen.limb([(0.25, 0.8), (0.42, 0.56), (0.68, 0.55), (0.5, 0.8), (0.25, 0.8)], frame, 0.035)
    pen.limb([(0.42, 0.56), (0.5, 0.8)], frame, 0.035)
    pen.limb([(0.75, 0.8), (0.66, 0.48), (0.72, 0.45)], frame, 0.035)
    knee = (0.58, 0.60) if phase % 2 else (0.54, 0.66)
    pen.limb([(0.42, 0.5), knee, (0.5 + 0.04 * (phase % 2), 0.86)], trousers, 0.085)
    pen.limb([(0.42, 0.5), (0.56, 0.22)], colour, 0.18)
    pen.limb([(0.57, 0.25), (0.62, 0.4), (0.69, 0.46)], colour, 0.065)
    pen.ellipse(0.6, 0.1, 0.075, 0.07, _SKIN[int(rng.integers(len(_SKIN)))])
    pen.ellipse(0.595, 0.07, 0.085, 0.05, shared_colour(rng))
    return pen.finish(seed)


@lru_cache(maxsize=256)
def tree(seed: int, colour: Colour) -> Sprite:
    """Return a trunk and a crown of clumps with holes, 96 × 84."""
    rng = np.random.default_rng([seed, 3])
    pen = _Pen(96, 84)
    bark = (88 + rng.uniform(-18, 24), 76 + rng.uniform(-14, 18), 62 + rng.uniform(-12, 14))
    lean = rng.uniform(-0.05, 0.05)
    pen.polygon([(0.47, 1.0), (0.53, 1.0), (0.515 + lean, 0.45), (0.485 + lean, 0.45)], bark)
    crown_y, crown_h, crown_w = rng.uniform(0.30, 0.38), rng.uniform(0.22, 0.3), rng.uniform(0.28, 0.42)
    for _ in range(46):
        angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        x, y = 0.5 + lean + crown_w * radius * np.cos(angle), crown_y + crown_h * radius * np.sin(angle)
        value = 0.72 + 0.5 * (0.75 - y) + rng.uniform(-0.16, 0.16)
        clump = tuple(float(np.clip(c * value, 0, 255)) for c in colour)
        pen.ellipse(x, y, rng.uniform(0.05, 0.1), rng.uniform(0.04, 0.09), (clump[0], clump[1], clump[2]))
    picture = pen.finish(seed, texture=0.24, light=0.2)
    ragged = np.roll(noise_tile(0), seed % 256, 0)[:96, :84]
    picture[..., 3][(ragged > 1.25) & (np.arange(96)[:, None] < 60)] = 0
    return picture


@lru_cache(maxsize=256)
def sign(seed: int, colour: Colour) -> Sprite:
    """Return a plate (round, triangular, square, or a traffic light), 40 × 40."""
    rng = np.random.default_rng([seed, 4])
    pen = _Pen(40, 40)
    mark, white = shared_colour(rng), (226.0, 226.0, 220.0)
    shape = int(rng.integers(5))
    if shape == 0:
        pen.ellipse(0.5, 0.5, 0.48, 0.48, (176, 34, 36))
        pen.ellipse(0.5, 0.5, 0.36, 0.36, white)
        pen.limb([(0.35, 0.5), (0.65, 0.5)], (40, 40, 40), 0.12)
    elif shape == 1:
        pen.polygon([(0.5, 0.02), (0.98, 0.92), (0.02, 0.92)], (180, 38, 36))
        pen.polygon([(0.5, 0.24), (0.8, 0.82), (0.2, 0.82)], white)
    elif shape == 2:
        pen.polygon([(0.02, 0.05), (0.98, 0.05), (0.98, 0.95), (0.02, 0.95)], colour)
        pen.limb([(0.3, 0.75), (0.3, 0.4), (0.7, 0.4), (0.7, 0.25)], white, 0.1)
    elif shape == 3:
        pen.ellipse(0.5, 0.5, 0.48, 0.48, colour)
        pen.limb([(0.5, 0.8), (0.5, 0.25)], mark, 0.14)
    else:
        pen.polygon([(0.3, 0.0), (0.7, 0.0), (0.7, 1.0), (0.3, 1.0)], (34, 38, 36))
        lit = int(rng.integers(3))
        for lamp, glow in enumerate(((230, 50, 40), (236, 180, 50), (60, 210, 120))):
            pen.ellipse(0.5, 0.2 + 0.3 * lamp, 0.13, 0.13, glow if lamp == lit else (58, 60, 58))
    return pen.finish(seed, texture=0.05, light=0.1)
