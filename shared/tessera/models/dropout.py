"""Dropout with masks that are quick to draw on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Zero each value with probability ``p`` in training and scale the rest by 1 / (1 − p); the identity in eval mode.

    As ``torch.nn.Dropout``, with ``p`` rounded to 1/65536. On a CPU torch draws one random number per value, which
    takes a fifth of a training step; here 64 random bits serve four values. Masks follow torch's random state.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = round(p * _LEVELS) / _LEVELS

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """Apply dropout to any shape and float dtype; the result has the memory layout of ``x``."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * self.mask(slice(0, len(x)), len(x), x)

    def mask(self, place: slice, count: int, like: Tensor) -> Tensor:
        """Draw the mask of a batch of ``count`` rows, and return that of the rows ``place``, in the shape of ``like``.

        0, or 1 / (1 − p), in the memory layout of ``like``, of which rows are the outermost axis.
        """
        each = like.numel() // max(len(like), 1)
        if like.device.type != "cpu":
            drawn = torch.empty(count * each, dtype=like.dtype, device=like.device).bernoulli_(1.0 - self.p)
            kept = drawn[place.start * each : place.stop * each]
        else:
            words = torch.empty((count * each + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
            # 16 uniform bits per value, from -32768 to 32767.
            bits = words.view(torch.int16)[place.start * each : place.stop * each]
            kept = bits >= round(self.p * _LEVELS) - _LEVELS // 2
        mask = torch.empty_like(like, requires_grad=False)
        # In the memory order of ``like``, so that a product reads both one after the other.
        mask.as_strided(kept.shape, (1,)).copy_(kept).mul_(1.0 / (1.0 - self.p))
        return mask
