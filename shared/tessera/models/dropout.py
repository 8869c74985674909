"""Dropout whose masks cost little on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 1 << 15
"""Probabilities are rounded to one in so many."""


class Dropout(nn.Module):
    """Zero each value with probability ``p`` in training and scale the rest by 1 / (1 − p); the identity in eval mode.

    As ``torch.nn.Dropout``, with ``p`` rounded to 1/32768. On a CPU one number of torch's random state seeds a mask of
    our own: torch draws one value at a time, which was a fifth of a training step.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = round(p * LEVELS) / LEVELS

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """Any shape and float dtype; the result is laid out like ``x``."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        from tessera.models import dropout_kernel

        seed = int(torch.randint(-(1 << 63), (1 << 63) - 1, (), dtype=torch.int64)) + (1 << 63)
        # The mask is made in bfloat16, and with the scale in it where x is too.
        short = x.dtype == torch.bfloat16
        scale = 1.0 / (1.0 - self.p)
        bits = int(torch.tensor(scale if short else 1.0, dtype=torch.bfloat16).view(torch.int16))
        drawn = dropout_kernel.draw(x.numel(), round(self.p * LEVELS), seed, bits)
        # Laid out in memory order, so that a channels-last tensor is not walked across its grain.
        strides = x.stride()
        order = sorted(range(x.dim()), key=lambda axis: (-strides[axis], axis))
        mask = torch.from_numpy(drawn).view(torch.bfloat16).view([x.shape[axis] for axis in order])
        mask = mask.permute([order.index(axis) for axis in range(x.dim())])
        return x * mask if short else x * mask.to(x.dtype).mul_(scale)
