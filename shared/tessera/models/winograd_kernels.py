"""The transforms of minimal filtering F(2×2, 3×3) (Lavin and Gray 2016, §4.1), one pass over the map each.

Maps are (N, H, W, C), tiles (16, T, C): value (k, l) of the 4×4 transform of tile (n, i, j) is in row 4k + l, column
(n · ⌈H/2⌉ + i) · ⌈W/2⌉ + j. Tile (i, j) yields outputs 2i, 2i + 1 by 2j, 2j + 1. ``first`` and ``last`` bound the rows
of tiles (n · ⌈H/2⌉ + i) that are worked on; the tiles begin at ``first``. bfloat16 comes as uint16; sums are made in
float32 and rounded once. Imported only where a compute child uses them.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import prange
from numba.extending import overload

from tessera.compile import threaded

# What numba compiles in place of these two, by the array's type.


def _read(array: Any, index: Any) -> Any:
    raise NotImplementedError


def _write(array: Any, index: Any, value: Any) -> None:
    raise NotImplementedError


@overload(_read)
def _read_as(array: Any, index: Any) -> Any:
    def widened(array: Any, index: Any) -> Any:
        return np.uint32(np.uint32(array[index]) << np.uint32(16)).view(np.float32)

    def plain(array: Any, index: Any) -> Any:
        return array[index]

    return widened if array.dtype == numba.uint16 else plain


@overload(_write)
def _write_as(array: Any, index: Any, value: Any) -> Any:
    def rounded(array: Any, index: Any, value: Any) -> None:
        bits = np.float32(value).view(np.uint32)
        # To the nearest, ties to even; a NaN would be carried away by it.
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        nearest = (bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
        array[index] = np.uint16(nearest if value == value else np.uint32(0x7FC0))

    def plain(array: Any, index: Any, value: Any) -> None:
        array[index] = value

    return rounded if array.dtype == numba.uint16 else plain


@threaded
def inputs(maps: Any, tiles: Any, first: int, last: int) -> None:
    """Bᵀ d B of the 4×4 values around each tile, zeros outside the map."""
    _, height, width, channels = maps.shape
    down, across = (height + 1) // 2, (width + 1) // 2
    zero = np.float32(0)
    for row in prange(first, last):
        n, top = row // down, 2 * (row % down) - 1
        part = np.empty((4, 4, channels), np.float32)
        for j in range(across):
            for q in range(4):
                x = 2 * j - 1 + q
                if x < 0 or x >= width:
                    part[:, q] = 0
                    continue
                above, below, under = top >= 0, top + 2 < height, top + 3 < height
                for c in range(channels):
                    d0 = _read(maps, (n, top, x, c)) if above else zero
                    d1 = _read(maps, (n, top + 1, x, c))
                    d2 = _read(maps, (n, top + 2, x, c)) if below else zero
                    d3 = _read(maps, (n, top + 3, x, c)) if under else zero
                    part[0, q, c] = d0 - d2
                    part[1, q, c] = d1 + d2
                    part[2, q, c] = d2 - d1
                    part[3, q, c] = d1 - d3
            tile = (row - first) * across + j
            for k in range(4):
                for c in range(channels):
                    p0, p1, p2, p3 = part[k, 0, c], part[k, 1, c], part[k, 2, c], part[k, 3, c]
                    _write(tiles, (4 * k, tile, c), p0 - p2)
                    _write(tiles, (4 * k + 1, tile, c), p1 + p2)
                    _write(tiles, (4 * k + 2, tile, c), p2 - p1)
                    _write(tiles, (4 * k + 3, tile, c), p1 - p3)


@threaded
def outputs(tiles: Any, bias: Any, maps: Any, first: int, last: int) -> None:
    """Aᵀ m A + bias of each tile, what lies outside the map left out. ``bias``: (C,) float32."""
    _, height, width, channels = maps.shape
    down, across = (height + 1) // 2, (width + 1) // 2
    for row in prange(first, last):
        n, top = row // down, 2 * (row % down)
        part = np.empty((2, 4, channels), np.float32)
        for j in range(across):
            tile = (row - first) * across + j
            for q in range(4):
                for c in range(channels):
                    m0, m1 = _read(tiles, (q, tile, c)), _read(tiles, (4 + q, tile, c))
                    m2, m3 = _read(tiles, (8 + q, tile, c)), _read(tiles, (12 + q, tile, c))
                    part[0, q, c] = m0 + m1 + m2
                    part[1, q, c] = m1 - m2 - m3
            for k in range(min(2, height - top)):
                for c in range(channels):
                    p0, p1, p2 = part[k, 0, c], part[k, 1, c], part[k, 2, c]
                    _write(maps, (n, top + k, 2 * j, c), p0 + p1 + p2 + bias[c])
                if 2 * j + 1 < width:
                    for c in range(channels):
                        p1, p2, p3 = part[k, 1, c], part[k, 2, c], part[k, 3, c]
                        _write(maps, (n, top + k, 2 * j + 1, c), p1 - p2 - p3 + bias[c])


@threaded
def gradients(maps: Any, tiles: Any, first: int, last: int) -> None:
    """A g Aᵀ of each tile's 2×2 gradients, zeros outside the map: the transposed of `outputs`."""
    _, height, width, channels = maps.shape
    down, across = (height + 1) // 2, (width + 1) // 2
    zero = np.float32(0)
    for row in prange(first, last):
        n, top = row // down, 2 * (row % down)
        part = np.empty((4, 2, channels), np.float32)
        for j in range(across):
            for q in range(2):
                x = 2 * j + q
                if x >= width:
                    part[:, q] = 0
                    continue
                below = top + 1 < height
                for c in range(channels):
                    g0 = _read(maps, (n, top, x, c))
                    g1 = _read(maps, (n, top + 1, x, c)) if below else zero
                    part[0, q, c] = g0
                    part[1, q, c] = g0 + g1
                    part[2, q, c] = g0 - g1
                    part[3, q, c] = -g1
            tile = (row - first) * across + j
            for k in range(4):
                for c in range(channels):
                    p0, p1 = part[k, 0, c], part[k, 1, c]
                    _write(tiles, (4 * k, tile, c), p0)
                    _write(tiles, (4 * k + 1, tile, c), p0 + p1)
                    _write(tiles, (4 * k + 2, tile, c), p0 - p1)
                    _write(tiles, (4 * k + 3, tile, c), -p1)
