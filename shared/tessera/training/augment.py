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
"""Mean of ImageNet, which padding has: normalisation turns it into zero, as the padding of convolutions is."""

_DRAWS = 7
_Side = Annotated[int, Field(ge=16, le=8192)]
_Factor = Annotated[float, Field(gt=0.0, le=8.0)]
T = TypeVar("T", bound=np.generic)


class Jitter(Params):
    """Random colours: factors uniform in 1 ± the value, the hue turned by a uniform share of the circle in ± its."""

    brightness: float = Field(default=0.0, ge=0.0, lt=1.0)
    contrast: float = Field(default=0.0, ge=0.0, lt=1.0)
    saturation: float = Field(default=0.0, ge=0.0, lt=1.0)
    hue: float = Field(default=0.0, ge=0.0, le=0.5)


class Augment(Params):
    """Random changes of a sample, drawn anew each epoch; the papers scale by 0.5 to 2, crop and flip."""

    flip: bool = False
    """Mirror every second sample, left to right."""
    scale: tuple[_Factor, _Factor] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Least and greatest factor of the size, drawn uniformly; images are scaled bilinearly, labels to the nearest."""
    crop: tuple[_Side, _Side] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Height and width in pixels of the part that is trained on, at a random place. A smaller image lies at a random
    place among pixels of the mean colour without a label. Null: the size of the largest image."""
    colour: Jitter | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _scale_ascends(self) -> Self:
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: the least factor comes first")
        return self

    @property
    def moves(self) -> bool:
        """Whether a sample is scaled or cropped."""
        return self.scale is not None or self.crop is not None

    @property
    def only_flips(self) -> bool:
        """Whether a sample is mirrored at most."""
        return not self.moves and self.colour is None


@dataclass(frozen=True)
class Augmentation:
    """How one sample is changed: scaled to ``size``, mirrored, cut to ``crop`` from ``corner`` on, recoloured.

    A negative corner, or a crop that is longer than the size, is padded.
    """

    size: tuple[int, int]
    corner: tuple[int, int]
    crop: tuple[int, int]
    flip: bool = False
    colours: Colours | None = None

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the changed image (crop, 3) uint8 of ``rgb`` (H, W, 3): bilinear between centres of pixels."""
        out = np.empty((*self.crop, 3), np.uint8)
        out[...] = MEAN_COLOUR
        rows, columns = self._axes(rgb.shape)
        left, right = columns.lower.min(), columns.upper.max() + 1
        part = rgb[:, left:right]
        # Only what the crop shows is computed: whole scaled images are up to 16 times as large.
        values = _between(part[rows.lower], part[rows.upper], rows.weight[:, None, None])
        values = _between(values[:, columns.lower - left], values[:, columns.upper - left], columns.weight[:, None])
        made = np.rint(values).astype(np.uint8)
        out[rows.place, columns.place] = made if self.colours is None else recoloured(made, self.colours)
        return out

    def labels(self, values: NDArray[T], fill: int) -> NDArray[T]:
        """Return changed labels (crop) of ``values`` (H, W): the nearest pixel's, ``fill`` in the padding."""
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
    """Where the pixels of one axis of a crop come from."""

    place: slice
    nearest: NDArray[np.intp]
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: NDArray[np.float32]
    """Of ``upper``."""


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
    """Draw the change of each sample of a batch; None where samples are mirrored at most, which needs no draw here.

    ``shapes``: (H, W, …) of each. ``flips``: which are mirrored. ``size``: of the crop where the parameters give none.
    Every sample takes equally many numbers from ``rng``, whatever is switched on: one setting never shifts another.
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
        # From all of the padding before to all of it behind; without scale and crop it lies behind always.
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
