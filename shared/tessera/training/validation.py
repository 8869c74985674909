"""Mean IoU on validation samples after an epoch, for the checkpoint policy best_val."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.evaluation import accuracy, confusion, confusion_of_image, miou, sums
from tessera.models.network import SegmentationNetwork
from tessera.models.predictor import Predictor
from tessera.models.upsample import largest
from tessera.training.checks import IGNORE

if TYPE_CHECKING:
    from tessera.training.distributed import Processes
    from tessera.training.samples import Sample

_CACHE_BYTES = 2 << 30


class Measured(NamedTuple):
    """Measures of an epoch on val, in 0..1; ``accuracy`` of a network that classifies whole images."""

    miou: float
    accuracy: float | None

    @property
    def chosen_by(self) -> float:
        """The number by which the best epoch is kept."""
        return self.miou if self.accuracy is None else self.accuracy

    @property
    def parts(self) -> dict[str, float]:
        """Return the measures of the history beside the mIoU."""
        return {} if self.accuracy is None else {"val_accuracy": self.accuracy}


UNMEASURED = Measured(math.nan, None)
"""Of an epoch without validation."""


class Validator:
    """Measures the model being trained on ``val``, one image at a time; a frozen backbone's maps are kept.

    Every process of the ``group`` measures its part of ``val``, and all find the measure of the whole.
    """

    def __init__(
        self,
        model: SegmentationNetwork,
        val: Sequence[Sample],
        classes: int,
        device: torch.device,
        dtype: torch.dtype,
        frozen: bool,
        group: Processes,
    ) -> None:
        self._model, self._classes, self._group = model, classes, group
        part = group.part(len(val))
        self._val = [val[row] for row in range(part.start, part.stop)]
        self._device, self._dtype = device, dtype
        self._maps: list[tuple[Tensor, Tensor]] = []
        if frozen:
            predictor = Predictor(model, device, dtype)
            used = 0
            for sample in self._val:
                low, high = predictor.maps(torch.from_numpy(np.asarray(sample.image))[None])
                used += 2 * (low.numel() + high.numel())
                if used > _CACHE_BYTES:
                    self._maps = []
                    break
                self._maps.append((low.half(), high.half()))

    def measure(self) -> Measured:
        """Return the mean IoU over the classes in the truth of the whole set, in 0..1, without the class undefined.

        A network that classifies whole images is measured by image, and by accuracy too.
        """
        predictor = Predictor(self._model, self._device, self._dtype)
        counts = np.zeros((self._classes, self._classes), np.int64)
        with torch.inference_mode():
            for row, sample in enumerate(self._val):
                if self._maps:
                    low, high = self._maps[row]
                    logits = predictor.head_logits(low, high)
                else:
                    logits = torch.from_numpy(predictor.logits(np.asarray(sample.image)))[None]
                known = logits[:, : self._classes]
                if self._model.head.whole_image:
                    counts += confusion_of_image(sample.target, known[0].cpu().numpy(), IGNORE, sample.image_id)
                    continue
                full = F.interpolate(known, size=sample.target.shape, mode="bilinear", align_corners=False)
                counts += confusion(sample.target, largest(full[0]).cpu().numpy(), self._classes, IGNORE)
        counts = np.array(self._group.sums(counts.reshape(-1).tolist()), np.int64).reshape(counts.shape)
        hits, extra, missed = sums(counts)
        right = accuracy(hits, missed) if self._model.head.whole_image else None
        return Measured(miou(hits, extra, missed), right)
