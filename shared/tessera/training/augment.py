"""Random changes of a training sample, the same for its image, target and region map: scale, crop, flip, colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tessera.recolour import Colours, recoloured
from tessera.registry import Params

MEAN_COLOUR = (124, 116, 104)
"""Mean colour of ImageNet, used as padding: normalisation makes it zero, like the padding of convolutions."""

_DRAWS = 7
_Side = Annotated[int, Field(ge=16, le=8192)]
_Factor = Annotated[float, Field(gt=0.0, le=8.0)]
T = TypeVar("T", bound=np.generic)


class Jitter(Params):
    """Random colours: each factor is uniform in 1 ± its value; the hue turns by a uniform share of ± ``hue``
    circles."""

    brightness: float = Field(default=0.0, ge=0.0, lt=1.0)
    contrast: float = Field(default=0.0, ge=0.0, lt=1.0)
    saturation: float = Field(default=0.0, ge=0.0, lt=1.0)
    hue: float = Field(default=0.0, ge=0.0, le=0.5)


class Augment(Params):
    """Random changes of a sample, drawn anew each epoch; the papers scale by 0.5 to 2, crop and flip."""

    flip: bool = False
    """Mirror each sample left to right with probability ½."""
    scale: tuple[_Factor, _Factor] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Least and greatest scale factor, drawn uniformly; images are scaled bilinearly, labels by nearest neighbour."""
    crop: tuple[_Side, _Side] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Height and width in pixels of a random crop. A smaller image is padded on all sides, at random, with the mean
    colour and without a label. Null: the size of the largest image."""
    colour: Jitter | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _scale_ascends(self) -> Self:
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: the least factor comes first")
        return self

    @property
    def moves(self) -> bool:
        """Return whether samples are scaled or cropped."""
        return self.scale is not None or self.crop is not None

    @property
    def only_flips(self) -> bool:
        """Return whether mirroring is the only change."""
        return not self.moves and self.colour is None


@dataclass(frozen=True)
class Augmentation:
    """Changes of one sample, in order: scale to ``size``, mirror, cut ``crop`` from ``corner`` on, recolour.

    Where the crop reaches beyond the scaled image it is padded.
    """

    size: tuple[int, int]
    corner: tuple[int, int]
    crop: tuple[int, int]
    flip: bool = False
    colours: Colours | None = None

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the changed image (crop, 3) uint8 of ``rgb`` (H, W, 3): bilinear (align_corners=False)."""
        out = np.empty((*self.crop, 3), np.uint8)
        out[...] = MEAN_COLOUR
        rows, columns = self._axes(rgb.shape)
        left, right = columns.lower.min(), columns.upper.max() + 1
        part = rgb[:, left:right]
        # Computes the pixels of the crop alone: whole scaled images are up to 16 times as large.
        values = _between(part[rows.lower], part[rows.upper], rows.weight[:, None, None])
        values = _between(values[:, columns.lower - left], values[:, columns.upper - left], columns.weight[:, None])
        made = np.rint(values).astype(np.uint8)
        out[rows.place, columns.place] = made if self.colours is None else recoloured(made, self.colours)
        return out

    def labels(self, values: NDArray[T], fill: int) -> NDArray[T]:
        """Return the changed labels (crop) of ``values`` (H, W) by nearest neighbour, ``fill`` in the padding."""
        out = np.full(self.crop, fill, values.dtype)
        rows, columns = self._axes(values.shape)
        out[rows.place, columns.place] = values[np.ix_(rows.nearest, columns.nearest)]
        return out

    def _axes(self, shape: tuple[int, ...]) -> tuple[_Axis, _Axis]:
        flips = (False, self.flip)
        parts = zip(shape[:2], self.size, self.corner, self.crop, flips, strict=True)
        rows, columns = (_axis(*part) for part in parts)
        return rows, columns


@dataclass(frozen=True)
class _Axis:
    """For each pixel of a crop along one axis, its two source pixels and the weight of the upper one."""

    place: slice
    nearest: NDArray[np.intp]
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: NDArray[np.float32]
    """Weight of ``upper``."""


def _axis(full: int, scaled: int, start: int, count: int, mirrored: bool) -> _Axis:
    at = np.arange(max(start, 0), min(start + count, scaled))
    place = slice(int(at[0]) - start, int(at[-1]) - start + 1)
    if mirrored:
        at = scaled - 1 - at
    centre = (at + 0.5) * (full / scaled)
    inner = np.clip(centre - 0.5, 0, full - 1)
    lower = inner.astype(np.intp)
    nearest = np.minimum(centre.astype(np.intp), full - 1)
    return _Axis(place, nearest, lower, np.minimum(lower + 1, full - 1), (inner - lower).astype(np.float32))


def _between(lower: NDArray[Any], upper: NDArray[Any], weight: NDArray[np.float32]) -> NDArray[Any]:
    if not weight.any():
        return lower
    base: NDArray[np.float32] = lower.astype(np.float32)
    base += (upper.astype(np.float32) - base) * weight
    return base


def draw(
    params: Augment,
    shapes: Sequence[tuple[int, ...]],
    flips: NDArray[np.bool_],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> list[Augmentation] | None:
    """Draw the changes of each sample of a batch; None where mirroring is the only change (``flips`` are drawn before).

    ``shapes``: (H, W, …) per sample. ``flips``: which samples are mirrored. ``size``: crop size where the parameters
    give none. Each sample takes equally many numbers from ``rng``, whatever is switched on, so that no setting shifts
    the draws of another.
    """
    if params.only_flips:
        return None
    crop = params.crop or size
    return [
        _change(params, (shape[0], shape[1]), bool(flip), crop, rng.random(_DRAWS))
        for shape, flip in zip(shapes, flips, strict=True)
    ]


def _change(
    params: Augment, shape: tuple[int, int], flip: bool, crop: tuple[int, int], drawn: NDArray[np.float64]
) -> Augmentation:
    least, greatest = params.scale or (1.0, 1.0)
    factor = least + (greatest - least) * drawn[0]
    height, width = (max(1, round(side * factor)) for side in shape)
    top, left = (
        # Padding is split at random between the two sides; without scale and crop it all lies behind.
        min(0, side - cut) + int(part * (abs(side - cut) + 1)) if params.moves else 0
        for side, cut, part in zip((height, width), crop, drawn[1:3], strict=True)
    )
    colours = None if params.colour is None else _colours(params.colour, drawn[3:])
    return Augmentation((height, width), (top, left), crop, flip, colours)


def _colours(jitter: Jitter, drawn: NDArray[np.float64]) -> Colours:
    ranges = (jitter.brightness, jitter.contrast, jitter.saturation)
    brightness, contrast, saturation = (1 + r * (2 * u - 1) for r, u in zip(ranges, drawn, strict=False))
    hue = jitter.hue * (2 * drawn[3] - 1) if jitter.hue else None
    return Colours(float(brightness), float(contrast), float(saturation), None if hue is None else float(hue))
