"""Backbone maps and logits of a batch of images, from cached maps where the backbone is frozen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.models.network import SegmentationNetwork
from tessera.models.predictor import Predictor
from tessera.models.upsample import between
from tessera.training.augment import Augmentation
from tessera.training.data import ImageSet
from tessera.training.frozen import FrozenMaps, Maps


class Inputs:
    """One network over one set of images.

    With ``frozen`` the backbone runs in eval mode, no gradient reaches it, and its maps are computed once (float16, at
    most 2 GiB). ``flips``: maps of mirrored images are cached too. ``cache`` False: maps are computed for every batch.
    """

    def __init__(
        self,
        model: SegmentationNetwork,
        data: ImageSet,
        dtype: torch.dtype,
        *,
        frozen: bool = False,
        flips: bool = False,
        cache: bool = True,
    ) -> None:
        self._model, self._data, self._dtype = model, data, dtype
        self._frozen = FrozenMaps(data, Predictor(model, data.device, dtype), flips, cache) if frozen else None

    def maps(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None = None
    ) -> Maps:
        """Return the low (N, D, h4, w4) and high (N, D', h, w) maps of a batch, mirrored where ``flip``, or changed.

        Maps of a frozen backbone are maps of unchanged images: they take no changes.
        """
        if self._frozen is not None:
            return self._frozen(index, flip)
        with self.autocast():
            low, high = self._model.features(self._data.inputs(index, flip, changes))
        return low, high

    def logits(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None = None
    ) -> Tensor:
        """Return the logits (N, C, h, w) at stride 4 of a batch."""
        low, high = self.maps(index, flip, changes)
        with self.autocast():
            logits: Tensor = self._model.head(low, high, self._data.offsets(index, flip))
        return logits

    def logits_at(
        self,
        index: NDArray[np.int64],
        flip: NDArray[np.bool_],
        pixels: Tensor,
        size: tuple[int, int],
        changes: Sequence[Augmentation] | None = None,
    ) -> Tensor:
        """Return the logits (P, C) float32 of P ≥ 1 ``pixels``, places in N·H·W of images of ``size`` (H, W).

        Bilinear from stride 4 (align_corners=False), as the losses take them from `logits`; see `Head.logits_at`.
        """
        low, high = self.maps(index, flip, changes)
        shape = (low.shape[0], low.shape[2], low.shape[3])
        corners, weights = _corners(pixels, size, shape)
        places, rows = torch.unique(corners, return_inverse=True)
        with self.autocast():
            logits = self._model.head.logits_at(low, high, places).float()
        return _mixed(logits, rows, weights)

    def autocast(self) -> torch.autocast:
        """Return the context in which convolutions run in the chosen precision."""
        return torch.autocast(self._data.device.type, self._dtype, enabled=self._dtype != torch.float32)


def _corners(pixels: Tensor, size: tuple[int, int], shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Return the four cells around each pixel, places (P, 4) in a map of ``shape`` (N, h, w), and weights (P, 4)."""
    (height, width), (_, h, w), device = size, shape, pixels.device
    rows, columns = ([torch.from_numpy(one).to(device) for one in between(*axis)] for axis in ((height, h), (width, w)))
    number, y, x = pixels // (height * width), pixels // width % height, pixels % width
    cells = [(number * h + row[y]) * w + column[x] for row in rows[:2] for column in columns[:2]]
    down, right = rows[2][y], columns[2][x]
    parts = [(1.0 - down) * (1.0 - right), (1.0 - down) * right, down * (1.0 - right), down * right]
    return torch.stack(cells, 1), torch.stack(parts, 1)


def _mixed(values: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return Σ_i weights[:, i] · values[rows[:, i]], (P, C). By ``gather``, whose gradient adds up in a fixed order."""
    taken = [values.gather(0, rows[:, i, None].expand(-1, values.shape[1])) for i in range(4)]
    made: Tensor = sum(one * weights[:, i, None] for i, one in enumerate(taken))  # type: ignore[assignment]
    return made
