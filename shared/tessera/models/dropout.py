"""Dropout whose masks cost little on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 1 << 15


class Dropout(nn.Module):
    """Zero each value with probability ``p`` in training and scale the rest by 1 / (1 − p); the identity in eval mode.

    As ``torch.nn.Dropout``, with ``p`` rounded to 1/32768 and the mask cut out of 64-bit draws: four values a draw
    where torch makes one, which was a fifth of a training step. Draws come from torch's random state.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = round(p * _LEVELS) / _LEVELS

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """Any shape and float dtype; the result is laid out like ``x``."""
        if not self.training or self.p == 0.0:
            return x
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device)
        # random_(low, None) covers all 64 bits. 15 of each quarter are compared, by arithmetic that vectorises: the
        # sign of the difference is the verdict.
        words.random_(-(1 << 63), None)
        kept = words.view(torch.int16)[: x.numel()].bitwise_and_(_LEVELS - 1)
        kept = kept.sub_(round(self.p * _LEVELS)).bitwise_right_shift_(15).add_(1)
        # Laid out in memory order, so that a channels-last tensor is not walked across its grain.
        strides = x.stride()
        order = sorted(range(x.dim()), key=lambda axis: (-strides[axis], axis))
        mask = kept.view([x.shape[axis] for axis in order]).permute([order.index(axis) for axis in range(x.dim())])
        return x * mask.to(x.dtype).mul_(1.0 / (1.0 - self.p))
