"""The decoder's first 3×3 convolution, of an upsampled map and a low map side by side, computed in two parts.

A convolution is linear, so conv(concatenate(up(context), low)) is the sum of two convolutions, one of each part. The
first then runs before upsampling, with a tenth of the multiplications, and MC-dropout passes share it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models import cells
from tessera.models.upsampled_conv import Offsets, upsample, upsampled_conv3x3


class JoinedConv(nn.Conv2d):
    """A 3×3 convolution of ``context`` + ``low`` channels; its result is `of_context` plus `of_low`."""

    def __init__(self, context: int, low: int, outputs: int) -> None:
        super().__init__(context + low, outputs, 3, padding=1, bias=False)
        self.context = context

    def of_context(self, x: Tensor, size: tuple[int, int], ratio: int, offsets: Offsets | None) -> Tensor:
        """Convolve the upsampled context, (N, context, h, w) → (N, outputs, *size); see `upsampled_conv3x3`."""
        return upsampled_conv3x3(x, self.weight[:, : self.context], size, ratio, offsets)

    def of_low(self, x: Tensor) -> Tensor:
        """Convolve the low map, (N, low, H, W) → (N, outputs, H, W); adds the bias, which folded batch norm brings."""
        return F.conv2d(x, self.weight[:, self.context :], self.bias, padding=1)

    def of_low_at(self, x: Tensor, near: cells.Around) -> Tensor:
        """Convolve the low map at some cells, (1, low, 1, m) → (1, outputs, 1, n)."""
        return cells.conv3x3(self, self.weight[:, self.context :], x, near)


class SeparableJoinedConv(nn.Module):
    """As `JoinedConv`, by a 3×3 convolution per channel and a 1×1 convolution."""

    def __init__(self, context: int, low: int, outputs: int) -> None:
        super().__init__()
        both = context + low
        self.context = context
        self.depthwise = nn.Conv2d(both, both, 3, padding=1, groups=both, bias=False)
        self.pointwise = nn.Conv2d(both, outputs, 1, bias=False)

    def of_context(self, x: Tensor, size: tuple[int, int], ratio: int, offsets: Offsets | None) -> Tensor:
        """Convolve the upsampled context, as `JoinedConv.of_context`."""
        return self._of(upsample(x, size, ratio, offsets), slice(0, self.context))

    def of_low(self, x: Tensor) -> Tensor:
        """(N, low, H, W) → (N, outputs, H, W)."""
        return self._of(x, slice(self.context, None))

    def of_low_at(self, x: Tensor, near: cells.Around) -> Tensor:
        """Convolve the low map at some cells, (1, low, 1, m) → (1, outputs, 1, n)."""
        per_channel = cells.conv3x3(self.depthwise, self.depthwise.weight[self.context :], x, near)
        return F.conv2d(per_channel, self.pointwise.weight[:, self.context :])

    def _of(self, x: Tensor, part: slice) -> Tensor:
        per_channel = F.conv2d(x, self.depthwise.weight[part], padding=1, groups=x.shape[1])
        return F.conv2d(per_channel, self.pointwise.weight[:, part])
