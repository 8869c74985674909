"""Mean IoU on validation samples after an epoch, for the checkpoint policy best_val."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.evaluation import confusion, miou, sums
from tessera.models.network import SegmentationNetwork
from tessera.models.predictor import Predictor
from tessera.models.upsample import largest
from tessera.training.checks import IGNORE

if TYPE_CHECKING:
    from tessera.training.samples import Sample

_CACHE_BYTES = 2 << 30


class Validator:
    """Measures the model being trained on ``val``, one image at a time; a frozen backbone's maps are kept."""

    def __init__(
        self,
        model: SegmentationNetwork,
        val: Sequence[Sample],
        classes: int,
        device: torch.device,
        dtype: torch.dtype,
        frozen: bool,
    ) -> None:
        self._model, self._val, self._classes = model, val, classes
        self._device, self._dtype = device, dtype
        self._maps: list[tuple[Tensor, Tensor]] = []
        if frozen:
            predictor = Predictor(model, device, dtype)
            used = 0
            for sample in val:
                low, high = predictor.maps(torch.from_numpy(np.asarray(sample.image))[None])
                used += 2 * (low.numel() + high.numel())
                if used > _CACHE_BYTES:
                    self._maps = []
                    break
                self._maps.append((low.half(), high.half()))

    def miou(self) -> float:
        """Return the mean IoU over the classes in the truth of the whole set, in 0..1, without the class undefined."""
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
                full = F.interpolate(known, size=sample.target.shape, mode="bilinear", align_corners=False)
                counts += confusion(sample.target, largest(full[0]).cpu().numpy(), self._classes, IGNORE)
        return miou(*sums(counts))
