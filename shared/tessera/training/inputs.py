"""Backbone maps and logits of a batch of images, from cached maps where the backbone is frozen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.models.network import SegmentationNetwork
from tessera.models.predictor import Predictor
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

    def autocast(self) -> torch.autocast:
        """Return the context in which convolutions run in the chosen precision."""
        return torch.autocast(self._data.device.type, self._dtype, enabled=self._dtype != torch.float32)
