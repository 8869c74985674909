"""The labelled pixels of a batch of images with partial answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.training.augment import Augmentation
from tessera.training.data import ImageSet
from tessera.training.samples import PartialSample


class Answered(NamedTuple):
    """The labelled pixels of a batch of N images of size H×W, and the answers about their regions."""

    places: Tensor
    """(P,) int64: places of the labelled pixels in N·H·W."""
    region: Tensor
    """(P,) int64: the row of each pixel's region."""
    classes: Tensor
    """(R, C + 1) bool: the classes of each region, undefined last."""
    shown: Tensor
    """(R,) float32: the share of each region's pixels that are in the batch; 1 where no crop cuts it."""
    size: tuple[int, int]
    """(H, W)."""


class RegionSet(ImageSet):
    """Images with answers about some of their regions."""

    def __init__(self, samples: Sequence[PartialSample], device: torch.device, dtype: torch.dtype) -> None:
        super().__init__([sample.image for sample in samples], device, dtype)
        self._samples = samples

    def answered(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None = None
    ) -> Answered:
        """Return the labelled pixels of the images ``index``, mirrored where ``flip``, or with ``changes``."""
        size = self.size if changes is None else changes[0].crop
        rows = np.full((len(index), *size), -1, np.int64)
        classes, sizes, first = [], [], 0
        for place, (number, mirrored) in enumerate(zip(index, flip, strict=True)):
            sample = self._samples[number]
            mine = asked_rows(np.asarray(sample.regions), sample.asked)
            if changes is None:
                whole, shown = mine, mine[:, ::-1] if mirrored else mine
            else:
                change = changes[place]
                whole = replace(change, corner=(0, 0), crop=change.size).labels(mine, -1)
                shown = change.labels(mine, -1)
            sizes.append(np.bincount(whole[whole >= 0], minlength=len(sample.asked)))
            part = rows[place, : shown.shape[0], : shown.shape[1]]
            part[...] = np.where(shown >= 0, shown + first, -1)
            classes.append(sample.classes)
            first += len(sample.asked)
        places = np.flatnonzero(rows.reshape(-1) >= 0)
        region = rows.reshape(-1)[places]
        share = np.bincount(region, minlength=first) / np.maximum(np.concatenate(sizes), 1)
        found = (places, region, np.concatenate(classes), share.astype(np.float32))
        tensors = [torch.from_numpy(one).to(self.device) for one in found]
        return Answered(tensors[0], tensors[1], tensors[2], tensors[3], size)


def asked_rows(regions: NDArray[np.int32], asked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row in ``asked`` of each pixel's region, (H, W); −1 for other regions."""
    rows = np.full(max(int(regions.max()), int(asked.max(initial=0))) + 1, -1, np.int64)
    rows[asked] = np.arange(len(asked))
    return rows[regions]
