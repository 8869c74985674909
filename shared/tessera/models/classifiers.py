"""The last layer of a network: linear, or by cosine similarity to one prototype per class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CosineClassifier(nn.Conv2d):
    """Logits cos(f, w_c) / T per cell: features and prototypes of length 1, no bias (MulActSeg, T = 0.1).

    With ``unit_prototypes`` false the prototypes keep their length, wᵀ f / (‖f‖ T): C of MAL and of minimax entropy
    (Saito et al. 2019, T = 0.05).
    """

    def __init__(self, channels: int, classes: int, temperature: float, *, unit_prototypes: bool = True) -> None:
        super().__init__(channels, classes, 1, bias=False)
        self.temperature, self.unit_prototypes = temperature, unit_prototypes

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) → logits (N, classes, H, W)."""
        prototypes = F.normalize(self.weight, dim=1) if self.unit_prototypes else self.weight
        return F.conv2d(F.normalize(x, dim=1), prototypes) / self.temperature


def pixel_classifier(
    channels: int, classes: int, temperature: float | None, *, unit_prototypes: bool = True
) -> nn.Conv2d:
    """Make a linear classifier of pixels, or a cosine one where a temperature is given."""
    if temperature is None:
        return nn.Conv2d(channels, classes, 1)
    return CosineClassifier(channels, classes, temperature, unit_prototypes=unit_prototypes)


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """Return ``x`` whose gradient arrives multiplied by −scale (Ganin and Lempitsky 2015)."""
    return x.detach() + scale * (x.detach() - x)
