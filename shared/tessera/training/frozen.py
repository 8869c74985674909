"""The maps of a frozen backbone: computed once per sample, within a bound, and kept for the next training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.between_jobs import between_jobs
from tessera.lru import ByteLimitedLRU
from tessera.models.predictor import Predictor
from tessera.training.data import UNIT, ImageSet, Place

Maps = tuple[Tensor, Tensor]
_CACHE_BYTES = 2 << 30
_KEPT_BYTES = 256 << 20


def _size(maps: Maps) -> int:
    return sum(one.numel() * one.element_size() for one in maps)


_kept: ByteLimitedLRU[tuple[object, ...], Maps] = between_jobs.keep(
    "frozen maps of training", ByteLimitedLRU(_KEPT_BYTES, _size)
)
"""Maps of samples by all they depend on. Most samples of a round were already those of the round before."""


class FrozenMaps:
    """Low and high maps by sample, float16, kept while all of them fit in 2 GiB; otherwise computed per batch.

    The maps of one training stay in the process while they fit in 256 MiB, for the next one with the same backbone.
    """

    def __init__(self, samples: ImageSet, predictor: Predictor, flips: bool, cache: bool) -> None:
        self._samples = samples
        self._predictor = predictor
        # Two units: the deepest map of a classification network has one cell for 32 pixels.
        _, high = predictor.maps(torch.zeros(1, 2 * UNIT, 2 * UNIT, 3, dtype=torch.uint8))
        self._stride = 2 * UNIT // high.shape[2]
        self._views: dict[bool, Maps] = {}
        views = (False, True) if flips else (False,)
        size = _size(_halves(self._of(0, False))) * len(samples) * len(views)
        self._keeps = size <= _KEPT_BYTES
        if cache and size <= _CACHE_BYTES:
            for view in views:
                self._views[view] = self._all(view)

    def __call__(self, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> Maps:
        """Return the low (N, 24, h4, w4) and high (N, 320, h, w) maps in the samples' dtype, channels-last."""
        dtype = self._samples.dtype
        if not self._views:
            # One after the other: a window is small, but its image may be large.
            parts = [self._of(row, mirrored) for row, mirrored in zip(index.tolist(), flip.tolist(), strict=True)]
            low, high = (torch.cat([part[kind] for part in parts]).to(dtype) for kind in range(2))
            return low, high
        low, high = (
            torch.stack([self._views[bool(mirrored)][kind][row] for row, mirrored in zip(index, flip, strict=True)])
            for kind in range(2)
        )
        return low.to(dtype).permute(0, 3, 1, 2), high.to(dtype).permute(0, 3, 1, 2)

    def _of(self, row: int, mirrored: bool) -> Maps:
        return self._cut(self._predictor.maps(self._samples.whole(row, mirrored)), self._samples.place(row, mirrored))

    def _cut(self, maps: Maps, place: Place | None) -> Maps:
        if place is None:
            return maps
        cells = (place.low, tuple(UNIT * part // self._stride for part in place.high))
        low, high = (
            full[:, :, top : top + rows, left : left + columns]
            for full, (top, left, rows, columns) in zip(maps, cells, strict=True)
        )
        return low, high

    def _each(self, mirrored: bool) -> Iterator[tuple[int, Maps]]:
        """Yield every sample with its maps (h, w, C); the backbone runs at most once per input."""
        by_source: dict[object, list[int]] = {}
        for row in range(len(self._samples)):
            by_source.setdefault(self._samples.source(row), []).append(row)
        predictor = self._predictor
        origin = (predictor.backbone_digest, predictor.dtype, str(predictor.device), torch.get_num_threads())
        for rows in by_source.values():
            pixels = self._samples.whole(rows[0], mirrored)
            content = hashlib.sha256(pixels.cpu().numpy().data).digest()
            full: Maps | None = None
            for row in rows:
                place = self._samples.place(row, mirrored)
                key = (*origin, content, tuple(pixels.shape), place)
                maps = _kept.get(key)
                if maps is None:
                    full = full or predictor.maps(pixels)
                    maps = _halves(self._cut(full, place))
                    if self._keeps:
                        _kept.put(key, maps)
                yield row, maps

    def _all(self, mirrored: bool) -> Maps:
        """Return the low (N, h4, w4, 24) and high (N, h, w, 320), float16."""
        made: list[Tensor] = []
        for row, maps in self._each(mirrored):
            if not made:
                made = [one.new_empty(len(self._samples), *one.shape) for one in maps]
            for stored, one in zip(made, maps, strict=True):
                stored[row] = one
        return made[0], made[1]


def _halves(maps: Maps) -> Maps:
    """Return the maps (1, C, h, w) of one sample as (h, w, C) float16, in memory of their own."""
    low, high = (one[0].permute(1, 2, 0).half().clone(memory_format=torch.contiguous_format) for one in maps)
    return low, high
