"""From samples to batches: order, padding, flips, and the cached maps of a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.models.mobilenetv2 import backbone_input
from tessera.models.predictor import Predictor
from tessera.training.checks import IGNORE

if TYPE_CHECKING:
    from tessera.training import Sample

_MEAN_COLOUR = (124, 116, 104)  # what normalisation turns into zero, as convolution padding is
_CACHE_BYTES = 2 << 30


def batches(count: int, size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Split a random order of ``count`` samples into batches of ``size``; every sample once.

    Batch norm needs two values a channel and the image-pool branch has one a sample. A single sample left over
    therefore joins the batch before it, and a data set of one sample is that sample twice.
    """
    order = rng.permutation(count) if count > 1 else np.zeros(2, dtype=np.int64)
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    return [np.asarray(part, dtype=np.int64) for part in np.split(order, starts[1:])]


class SampleSet:
    """Samples of one common size: smaller ones are padded below and to the right, mean colour and ignored."""

    def __init__(self, samples: Sequence[Sample], device: torch.device, dtype: torch.dtype) -> None:
        self._samples = samples
        self.size = (
            max(sample.target.shape[0] for sample in samples),
            max(sample.target.shape[1] for sample in samples),
        )
        self.device = device
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self._samples)

    def rgb(self, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> Tensor:
        """uint8 (N, H, W, 3), mirrored where ``flip``."""
        out = np.empty((len(index), *self.size, 3), dtype=np.uint8)
        out[...] = _MEAN_COLOUR
        for row, (sample, mirrored) in enumerate(zip(index, flip, strict=True)):
            image = self._samples[sample].image
            out[row, : image.shape[0], : image.shape[1]] = image[:, ::-1] if mirrored else image
        return torch.from_numpy(out).to(self.device)

    def target(self, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> Tensor:
        """uint8 (N, H, W), 255 ignored, mirrored where ``flip``."""
        out = np.full((len(index), *self.size), IGNORE, dtype=np.uint8)
        for row, (sample, mirrored) in enumerate(zip(index, flip, strict=True)):
            target = self._samples[sample].target
            out[row, : target.shape[0], : target.shape[1]] = target[:, ::-1] if mirrored else target
        return torch.from_numpy(out).to(self.device)

    def inputs(self, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> Tensor:
        """Normalised (N, 3, H, W), channels-last."""
        return backbone_input(self.rgb(index, flip), self.dtype)


class FrozenMaps:
    """The maps of a frozen backbone for every sample: computed once and kept as float16 while they fit in 2 GiB."""

    def __init__(self, samples: SampleSet, predictor: Predictor, flips: bool, cache: bool) -> None:
        self._samples = samples
        self._predictor = predictor
        self._cache: dict[bool, tuple[Tensor, Tensor]] = {}
        views = (False, True) if flips else (False,)
        if cache and self._bytes() * len(views) <= _CACHE_BYTES:
            for view in views:
                self._cache[view] = self._all(view)

    def __call__(self, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Low (N, 24, h4, w4) and high (N, 320, h, w) maps in the samples' dtype, channels-last."""
        if not self._cache:
            low, high = self._predictor.maps(self._samples.rgb(index, flip))
            return low.to(self._samples.dtype).clone(), high.to(self._samples.dtype).clone()
        low_high = []
        for kind in range(2):
            picked = torch.stack(
                [self._cache[bool(mirrored)][kind][row] for row, mirrored in zip(index, flip, strict=True)]
            )
            low_high.append(picked.to(self._samples.dtype).permute(0, 3, 1, 2))
        return low_high[0], low_high[1]

    def _bytes(self) -> int:
        low, high = self._predictor.maps(self._samples.rgb(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool)))
        return 2 * (low.numel() + high.numel()) * len(self._samples)

    def _all(self, mirrored: bool) -> tuple[Tensor, Tensor]:
        lows, highs = [], []
        for row in range(len(self._samples)):
            index = np.array([row], dtype=np.int64)
            low, high = self._predictor.maps(self._samples.rgb(index, np.array([mirrored])))
            lows.append(low.permute(0, 2, 3, 1).half().contiguous())
            highs.append(high.permute(0, 2, 3, 1).half().contiguous())
        return torch.cat(lows), torch.cat(highs)
