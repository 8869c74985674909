"""Pixel vectors for contrastive training (superpixel-contrastive paper, §4.2)."""

from __future__ import annotations

from torch import nn

from tessera.models.dropout import Dropout
from tessera.models.mobilenetv2 import divisible


def projection_head(inputs: int, outputs: int) -> nn.Sequential:
    """Build 3×3 convolution, batch norm, ReLU, dropout 0.1, 1×1 convolution: (N, inputs, h, w) → (N, outputs, h, w).

    The paper gives no width between the two: here a quarter of the inputs, as in the paper's FCN head.
    """
    hidden = divisible(inputs / 4)
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 3, padding=1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        Dropout(0.1),
        nn.Conv2d(hidden, outputs, 1),
    )
