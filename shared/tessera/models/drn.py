"""DRN-D-22 (Yu et al. 2017, dilated residual networks) with the parameter names of the published code (fyu/drn)."""

from __future__ import annotations

from torch import Tensor, nn

from tessera.models.backbone import Backbone, size_only
from tessera.models.mobilenetv2 import divisible
from tessera.models.resnet import BasicBlock

_CHANNELS = (16, 32, 64, 128, 256, 512, 512, 512)


def _convolutions(inputs: int, outputs: int, kernel: int, stride: int, dilation: int) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class DRND22(Backbone):
    """``layer0`` … ``layer8``: stride 8; the last two convolutions have falling dilation against gridding.

    Layers 3 to 6 have two residual blocks each. The head reads the deepest map alone: the low map has no channels.
    """

    unused = ("fc.",)
    low_channels = 0

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c1, c2, c3, c4, c5, c6, c7, c8 = (divisible(size * width) for size in _CHANNELS)
        self.layer0 = _convolutions(3, c1, 7, 1, 1)
        self.layer1 = _convolutions(c1, c1, 3, 1, 1)
        self.layer2 = _convolutions(c1, c2, 3, 2, 1)
        self.layer3 = _blocks(c2, c3, 2, 1)
        self.layer4 = _blocks(c3, c4, 2, 1)
        self.layer5 = _blocks(c4, c5, 1, 2)
        self.layer6 = _blocks(c5, c6, 1, 4)
        self.layer7 = _convolutions(c6, c7, 3, 1, 2)
        self.layer8 = _convolutions(c7, c8, 3, 1, 1)
        self.high_channels = c8
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, H, W) normalised RGB → low (N, 0, ⌈H/4⌉, ⌈W/4⌉) and high (N, 512, ⌈H/8⌉, ⌈W/8⌉) at width 1."""
        high = x
        for index in range(9):
            high = self.get_submodule(f"layer{index}")(high)
        return size_only(x), high


def _blocks(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Sequential:
    rates = (dilation, dilation)
    return nn.Sequential(BasicBlock(inputs, outputs, stride, rates), BasicBlock(outputs, outputs, 1, rates))
