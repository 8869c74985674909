"""Label maps in the code of a published data set (its own ids, or colours) ↔ class indices.

An unknown id or colour is an error and never becomes "ignored": the file belongs to another data set, or a lossy step
(JPEG, smooth resizing) has invented colours at borders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.errors import BadInput
from tessera.formats.images import UInt8, decode_labels, decode_rgb, encode_png, probe

Colour = tuple[int, int, int]

_UNKNOWN = -1


@dataclass(frozen=True)
class IdCode:
    """One-channel maps: stored value 0..255 → class index or the ignored index; ``name``: the data set of these ids."""

    name: str
    classes: Mapping[int, int]


@dataclass(frozen=True)
class ColourCode:
    """RGB maps: colour → class index or the ignored index; ``name``: the data set of these colours."""

    name: str
    classes: Mapping[Colour, int]


LabelCode = IdCode | ColourCode


def index_png(
    data: bytes,
    name: str,
    code: LabelCode | None,
    classes: int,
    ignore_index: int = 255,
    shape: tuple[int, int] | None = None,
) -> bytes:
    """Return a label map as PNG of class indices, checked.

    Without a ``code`` the values are class indices already and the bytes are returned as they are, but that 16-bit maps
    become 8-bit ones. ``shape`` (H, W) is the size of the image. BadInput naming the file, the value or colour, its
    first place and the remedy.
    """
    if code is None:
        labels = decode_labels(data, name, classes, ignore_index, shape)
        return encode_png(labels) if probe(data, name).bits == 16 else data
    return encode_png(decode_coded(data, name, code, shape))


def decode_coded(data: bytes, name: str, code: LabelCode, shape: tuple[int, int] | None = None) -> UInt8:
    """Decode a coded label map to uint8 (H, W) of class indices; BadInput as in `index_png`."""
    if isinstance(code, IdCode):
        stored = decode_labels(data, name, shape=shape)
        table = np.full(256, _UNKNOWN, np.int16)
        for value, index in code.classes.items():
            table[value] = index
        found = table[stored]
        _check(found, stored[..., None], name, code)
        return found.astype(np.uint8)
    if probe(data, name).format != "PNG":
        raise BadInput(f"{name}: a label map of colours must be PNG, JPEG changes the colours; get the original file")
    rgb = decode_rgb(data, name)
    if shape is not None and rgb.shape[:2] != tuple(shape):
        raise BadInput(
            f"{name}: the label map is {rgb.shape[1]}×{rgb.shape[0]} pixels but its image is {shape[1]}×{shape[0]}; "
            "both need the same size"
        )
    known = np.array(sorted(_packed(colour) for colour in code.classes), np.int32)
    by_packed = {_packed(colour): index for colour, index in code.classes.items()}
    index_of = np.array([by_packed[value] for value in known.tolist()], np.int16)
    pixels = rgb[..., 0].astype(np.int32) << 16 | rgb[..., 1].astype(np.int32) << 8 | rgb[..., 2]
    # Label maps are long runs of one colour: looking up each run once is several times faster than each pixel.
    flat = pixels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    colours = flat[starts]
    at = np.minimum(np.searchsorted(known, colours), len(known) - 1)
    runs = np.where(known[at] == colours, index_of[at], np.int16(_UNKNOWN))
    found = np.repeat(runs, np.diff(starts, append=flat.size)).reshape(pixels.shape)
    _check(found, rgb, name, code)
    return found.astype(np.uint8)


def _packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _check(found: npt.NDArray[np.int16], stored: UInt8, name: str, code: LabelCode) -> None:
    wrong = found == _UNKNOWN
    if wrong.any():
        row, column = (int(index) for index in np.unravel_index(int(wrong.argmax()), wrong.shape))
        value = stored[row, column].tolist()
        what = f"value {value[0]}" if len(value) == 1 else f"colour {tuple(value)}"
        raise BadInput(
            f"{name}: {what} at row {row}, column {column} ({int(wrong.sum())} such pixels) is not one of the "
            f"{len(code.classes)} {code.name}; use the label maps as published, neither resized nor edited"
        )
