"""ResNets (He et al. 2016) with torchvision's parameter names, dilated for segmentation; plain or deep stem.

Weights of torchvision's resnet18, resnet50 and resnet101 load strictly, but for ``fc``. The deep stem (three 3×3
convolutions in place of one 7×7) has the names of MulActSeg's published code: ``conv1.0``, ``conv1.1``, … ``bn1``.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.backbone import Backbone, size_only
from tessera.models.mobilenetv2 import divisible

Depth = Literal[18, 50, 101]
_BLOCKS: dict[Depth, tuple[int, int, int, int]] = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; the first has the stride. ``dilations``: of the first and the second."""

    expansion = 1
    folds = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, inputs: int, planes: int, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, first, first, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, second, second, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, planes, ⌈H/stride⌉, ⌈W/stride⌉)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride, as in torchvision) and 1×1 convolution, and a shortcut."""

    expansion = 4
    folds = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(self, inputs: int, planes: int, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        first, _ = dilations
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, first, first, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = _shortcut(inputs, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, 4 · planes, ⌈H/stride⌉, ⌈W/stride⌉)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + shortcut)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _deep_stem(channels: int) -> nn.Sequential:
    half = channels // 2
    return nn.Sequential(
        nn.Conv2d(3, half, 3, 2, 1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, half, 3, 1, 1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, channels, 3, 1, 1, bias=False),
    )


class ResNet(Backbone):
    """``layer1`` (stride 4) to ``layer4``; a stride past ``output_stride`` becomes 1 and what follows it is dilated.

    As in torchvision, the convolution that loses its stride keeps its dilation and those after it double theirs. The
    low map is ``layer1``'s, or has no channels with ``low`` false. ``width`` multiplies all channels; published weights
    have 1.
    """

    unused = ("fc.",)

    def __init__(
        self,
        depth: Depth,
        output_stride: int = 16,
        width: float = 1.0,
        *,
        deep_stem: bool = False,
        low: bool = True,
    ) -> None:
        super().__init__()
        block = BasicBlock if depth == 18 else Bottleneck
        base = divisible(64 * width)
        channels = 2 * base if deep_stem else base
        self.conv1 = _deep_stem(channels) if deep_stem else nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.folds = (("conv1.6" if deep_stem else "conv1", "bn1"),)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stride, dilation = 4, 1
        layers = []
        for index, blocks in enumerate(_BLOCKS[depth]):
            planes, wanted = base << index, 1 if index == 0 else 2
            reached = stride * wanted <= output_stride
            after = dilation if reached else dilation * wanted
            made: list[nn.Module] = []
            for position in range(blocks):
                step = wanted if reached and position == 0 else 1
                made.append(block(channels, planes, step, (dilation if position == 0 else after, after)))
                channels = planes * block.expansion
            layers.append(nn.Sequential(*made))
            stride, dilation = (stride * wanted if reached else stride), after
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.low_channels = base * block.expansion if low else 0
        self.high_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock | Bottleneck):
                # A residual branch begins as zero (Goyal et al. 2017, §5.1): without published weights, a hundred
                # layers whose batch norm has seen nothing yet would otherwise overflow.
                nn.init.zeros_(module.get_submodule(module.folds[-1][1]).get_parameter("weight"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, H, W) normalised RGB → low (N, 256, ⌈H/4⌉, ⌈W/4⌉) and high (N, 2048, ⌈H/os⌉, ⌈W/os⌉) (depth
        50)."""
        first = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
        high = self.layer4(self.layer3(self.layer2(first)))
        return first if self.low_channels else size_only(x), high
