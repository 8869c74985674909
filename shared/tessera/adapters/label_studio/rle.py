"""Label Studio's run-length code of brush masks: bits of variable length, by thi.ng's rle-pack.

A mask of (H, W) is coded as the 4 · H · W bytes of its RGBA image. The bits are: the number of values (32), the bits
of a value less one (5), four lengths of counts less one (4 each); then chunks until all values are there. A chunk is a
flag (1), the index of a count's length (2), the count less one, and, where the flag is set, one value that repeats,
else that many values. Source: github.com/thi-ng/umbrella, packages/rle-pack; label_studio_sdk.converter.brush has the
same in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.queries.given import mask_to_runs

_COUNT_BITS: Final = (3, 4, 8, 16)
_VALUE_BITS: Final = 8
_CHANNELS: Final = 4
_OPAQUE: Final = 128
"""Alpha from which a pixel counts as drawn: the brush's edge is smoothed, and half a pixel is the page's rule too."""


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """Return the bytes of a bool mask (H, W)."""
    bits = [f"{mask.size * _CHANNELS:032b}{_VALUE_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _COUNT_BITS)]
    for at, run in enumerate(mask_to_runs(mask)):
        value = f"{255 * (at % 2):08b}"
        bits += [f"1{code}{value}" for code in _counts(run * _CHANNELS)]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _counts(length: int) -> Iterator[str]:
    """Yield the codes of the counts of a run: the index of a count's length, then the count less one."""
    while length:
        count = min(length, 1 << _COUNT_BITS[-1])
        index = next(at for at, bits in enumerate(_COUNT_BITS) if count <= 1 << bits)
        yield f"{index:02b}{count - 1:0{_COUNT_BITS[index]}b}"
        length -= count


def decode(rle: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (H, W) of such bytes: where alpha is at least 128. BadInput for bytes that code no such image."""
    try:
        values = _values(np.unpackbits(np.array(rle, np.uint8)), height * width * _CHANNELS)
    except (ValueError, OverflowError, TypeError) as error:
        raise BadInput(f"brush mask: cannot be decoded ({error}); draw it again") from None
    mask: NDArray[np.bool_] = values.reshape(height, width, _CHANNELS)[..., 3] >= _OPAQUE
    return mask


def _values(bits: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    at = 0

    def take(count: int, width: int) -> NDArray[np.int64]:
        nonlocal at
        end = at + count * width
        if end > len(bits):
            raise ValueError("it ends too early")
        words = bits[at:end].reshape(count, width).astype(np.int64) @ (
            1 << np.arange(width - 1, -1, -1, dtype=np.int64)
        )
        at = end
        return np.asarray(words, np.int64)

    def number(width: int) -> int:
        return int(take(1, width)[0])

    if (found := number(32)) != size:
        raise ValueError(f"it holds {found} values instead of {size}")
    value_bits = number(5) + 1
    count_bits = [number(4) + 1 for _ in range(4)]
    made, filled = np.zeros(size, np.int64), 0
    while filled < size:
        repeats = number(1)
        end = filled + number(count_bits[number(2)]) + 1
        if end > size:
            raise ValueError("its runs are longer than the image")
        made[filled:end] = number(value_bits) if repeats else take(end - filled, value_bits)
        filled = end
    return made
