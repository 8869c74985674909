"""Losses over logits and label maps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of −log softmax(z)[y] over the pixels of the batch whose target is not 255; 0 where all are.

    Logits (N, C, h, w) are upsampled bilinearly (align_corners=False) to the target's (N, H, W) first.
    """
    # Planes: log softmax across channels-last logits would copy them at full size first.
    full = F.interpolate(logits.float().contiguous(), size=target.shape[1:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(full, target.long(), ignore_index=IGNORE, reduction="sum")
    return total / (target != IGNORE).sum().clamp(min=1)
