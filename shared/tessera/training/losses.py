"""Losses over logits and label maps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean of −log softmax(z)[y] over the pixels of the batch whose target is not 255; 0 where all are.

    Logits (N, C, h, w) are upsampled bilinearly (align_corners=False) to the target's (N, H, W) first.
    """
    # Contiguous planes: log softmax of channels-last logits would first copy them at full size.
    full = F.interpolate(logits.float().contiguous(), size=target.shape[1:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(full, target.long(), ignore_index=IGNORE, reduction="sum")
    return total / (target != IGNORE).sum().clamp(min=1)


def entropy(logits: Tensor, shown: Tensor | None = None) -> Tensor:
    """Return the mean of −Σ_c p_c log p_c in nats, p = softmax(z), over the pixels of ``shown`` (N, H, W) bool.

    Logits (N, C, h, w) are upsampled bilinearly (align_corners=False) to H × W first; without ``shown`` over their own
    pixels.
    """
    z = logits.float().contiguous()
    if shown is not None:
        z = F.interpolate(z, size=shown.shape[1:], mode="bilinear", align_corners=False)
    log_p = F.log_softmax(z, dim=1)
    per_pixel = -(log_p.exp() * log_p).sum(dim=1)
    return per_pixel.mean() if shown is None else per_pixel[shown].mean()
