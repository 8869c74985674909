"""Atrous spatial pyramid pooling (Chen et al. 2017, §3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AtrousConv2d(nn.Conv2d):
    """A 3×3 convolution of dilation d that leaves out kernel rows and columns it cannot use.

    On maps of at most d cells the outer ones read padding alone: they are skipped, which changes no result and saves up
    to 8/9 of the work. Those that ``trained_on`` cuts are left out of training and prediction alike. That is another
    network than the paper's with the same parameters: cut weights stay in the checkpoint and are never read.
    """

    cut: Tensor

    def __init__(self, inputs: int, outputs: int, rate: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=rate, dilation=rate, groups=groups, bias=False)
        # Whether outer rows and outer columns are cut. Part of the checkpoint, since prediction depends on it.
        self.register_buffer("cut", torch.zeros(2, dtype=torch.uint8))

    def trained_on(self, height: int, width: int) -> None:
        """Cut outer rows (columns) that reach outside such a map from more than two thirds of its cells.

        They would be trained at the rim only, and then read at every cell of a whole image.
        """
        rate = int(self.dilation[0])
        self.cut.copy_(torch.tensor([3 * (size - rate) < size for size in (height, width)]))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) → (N, O, H, W)."""
        rate = int(self.dilation[0])
        rows, columns = (
            slice(1, 2) if cut or size <= rate else slice(0, 3)
            for cut, size in zip(self.cut.tolist(), x.shape[2:], strict=True)
        )
        weight = self.weight[:, :, rows, columns]
        padding = (rate * (weight.shape[2] // 2), rate * (weight.shape[3] // 2))
        return F.conv2d(x, weight, self.bias, 1, padding, rate, self.groups)


def block(*convs: nn.Module, outputs: int) -> nn.Sequential:
    """Chain convolutions, batch norm of their ``outputs`` and ReLU."""
    return nn.Sequential(*convs, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def atrous(inputs: int, outputs: int, rate: int, *, separable: bool) -> list[nn.Module]:
    """Return an atrous 3×3 convolution; ``separable``: one per channel and then a 1×1, as in MulActSeg's networks."""
    if not separable:
        return [AtrousConv2d(inputs, outputs, rate)]
    return [AtrousConv2d(inputs, inputs, rate, groups=inputs), nn.Conv2d(inputs, outputs, 1, bias=False)]


class WindowMean(nn.Module):
    """The mean of a map, or around each cell the mean of as many cells as training maps had."""

    def forward(self, high: Tensor, window: Tensor) -> Tensor:
        """Map (N, C, h, w) and ``ASPP.window`` → (N, C, 1, 1) where the window is the whole map, else (N, C, h, w)."""
        height, width = high.shape[2:]
        seen = [int(side) for side in window]
        rows, columns = (min(one or side, side) for one, side in zip(seen, (height, width), strict=True))
        if (rows, columns) == (height, width):
            return high.mean(dim=(2, 3), keepdim=True)
        around = (rows // 2, columns // 2)
        local = F.avg_pool2d(high, (rows, columns), stride=1, padding=around, count_include_pad=False)
        return local[:, :, :height, :width]


class ASPP(nn.Module):
    """Parallel 1×1, three atrous 3×3 and image-pool branches, concatenated and reduced.

    A network trained on parts of images (crops or windows) meets other statistics on whole ones, where the pool
    averages a whole scene. After ``trained_on``, the pool therefore averages around each cell, over as many cells as
    the training maps have (test-time local conversion, Chu et al. 2022). Without it the pool averages the whole map.
    """

    window: Tensor

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, ...], *, separable: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList([block(nn.Conv2d(inputs, outputs, 1, bias=False), outputs=outputs)])
        for rate in rates:
            self.branches.append(block(*atrous(inputs, outputs, rate, separable=separable), outputs=outputs))
        self.mean: nn.Module = WindowMean()
        self.pool = block(nn.Conv2d(inputs, outputs, 1, bias=False), outputs=outputs)
        self.project = block(nn.Conv2d(outputs * (len(rates) + 2), outputs, 1, bias=False), outputs=outputs)
        # Height and width, in cells, of the maps seen in training; zero: any. Part of the checkpoint, since prediction
        # depends on it.
        self.register_buffer("window", torch.zeros(2, dtype=torch.int64))

    def forward(self, high: Tensor) -> Tensor:
        """Map (N, inputs, h, w) → (N, outputs, h, w)."""
        maps = [branch(high) for branch in self.branches]
        pooled = self.pool(self.mean(high, self.window))
        # The pool's map takes the memory layout of the others: concatenation would otherwise convert all of them.
        maps.append(pooled.expand(-1, -1, *high.shape[2:]).contiguous(memory_format=torch.channels_last))
        out: Tensor = self.project(torch.cat(maps, dim=1))
        return out

    def trained_on(self, height: int, width: int) -> None:
        """Prepare pool and atrous branches for training on maps of this size and prediction on larger ones."""
        self.window.copy_(torch.tensor((height, width)))
        for module in self.modules():
            if isinstance(module, AtrousConv2d):
                module.trained_on(height, width)

    def forget(self) -> None:
        """Undo `trained_on`."""
        self.window.zero_()
        for module in self.modules():
            if isinstance(module, AtrousConv2d):
                module.cut.zero_()
