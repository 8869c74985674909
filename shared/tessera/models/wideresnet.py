"""WideResNet-38 (Wu et al. 2016) in its pre-activation form "A2", with the parameter names of the mapillary release."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.backbone import Backbone
from tessera.models.mobilenetv2 import divisible

# Blocks and channels of mod2 … mod7.
_BLOCKS = (3, 3, 6, 3, 1, 1)
_CHANNELS = ((128, 128), (256, 256), (512, 512), (512, 1024), (512, 1024, 2048), (1024, 2048, 4096))
_DROPOUT = {4: 0.3, 5: 0.5}  # of mod6 and mod7


class NormAct(nn.BatchNorm2d):
    """Batch norm followed by leaky ReLU of slope 0.01: one layer in the release, with batch norm's names."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to (N, C, H, W)."""
        return F.leaky_relu(super().forward(x), 0.01)


class IdentityBlock(nn.Module):
    """Norm and activation before each convolution, and a shortcut; two 3×3 convolutions, or 1×1, 3×3, 1×1.

    The first convolution has the stride. ``dilations``: of the first and of later 3×3 convolutions.
    """

    def __init__(
        self, inputs: int, channels: tuple[int, ...], stride: int, dilations: tuple[int, int], dropout: float
    ) -> None:
        super().__init__()
        self.bn1 = NormAct(inputs)
        kernels = (3, 3) if len(channels) == 2 else (1, 3, 1)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = inputs
        for index, (outputs, kernel) in enumerate(zip(channels, kernels, strict=True), start=1):
            if index > 1:
                layers[f"bn{index}"] = NormAct(before)
            if dropout and index == len(channels):
                layers["dropout"] = nn.Dropout2d(dropout)
            step = stride if index == 1 else 1
            rate = dilations[min(index, 2) - 1] if kernel == 3 else 1
            padding = rate * (kernel // 2)
            layers[f"conv{index}"] = nn.Conv2d(before, outputs, kernel, step, padding, rate, bias=False)
            before = outputs
        self.convs = nn.Sequential(layers)
        self.proj_conv = nn.Conv2d(inputs, before, 1, stride, bias=False) if stride > 1 or inputs != before else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, channels[-1], ⌈H/stride⌉, ⌈W/stride⌉)."""
        active = self.bn1(x)
        shortcut = x if self.proj_conv is None else self.proj_conv(active)
        out: Tensor = self.convs(active) + shortcut
        return out


class WideResNet38(Backbone):
    """``mod1`` … ``mod7`` and ``bn_out``; the low map is ``mod3``'s (256 channels at stride 4).

    Down-sampling is by max pooling in front of mod2 and mod3 and by the stride of mod4, mod5 and mod6. A stride past
    ``output_stride`` becomes 1 and what follows is dilated; the release also dilates the convolution that loses its
    stride, so that this filter sees other cells than in pretraining.
    """

    unused = ("classifier.",)

    def __init__(self, output_stride: int = 8, width: float = 1.0) -> None:
        super().__init__()
        channels = divisible(64 * width)
        self.mod1 = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, channels, 3, 1, 1, bias=False)))
        self.pool2 = self.pool3 = nn.MaxPool2d(3, 2, 1)
        stride, dilation = 4, 1
        for index, (blocks, plan) in enumerate(zip(_BLOCKS, _CHANNELS, strict=True)):
            wanted = 2 if 2 <= index <= 4 else 1
            reached = stride * wanted <= output_stride
            after = dilation if reached else dilation * wanted
            made: OrderedDict[str, nn.Module] = OrderedDict()
            for position in range(blocks):
                step = wanted if reached and position == 0 else 1
                sizes = tuple(divisible(size * width) for size in plan)
                rates = (dilation if position == 0 else after, after)
                made[f"block{position + 1}"] = IdentityBlock(channels, sizes, step, rates, _DROPOUT.get(index, 0.0))
                channels = sizes[-1]
            stride, dilation = (stride * wanted if reached else stride), after
            self.add_module(f"mod{index + 2}", nn.Sequential(made))
        self.bn_out = NormAct(channels)
        self.low_channels = divisible(256 * width)
        self.high_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, H, W) normalised RGB → low (N, 256, ⌈H/4⌉, ⌈W/4⌉) and high (N, 4096, ⌈H/os⌉, ⌈W/os⌉) at width
        1."""
        low = self.get_submodule("mod3")(self.pool3(self.get_submodule("mod2")(self.pool2(self.mod1(x)))))
        high = low
        for index in range(4, 8):
            high = self.get_submodule(f"mod{index}")(high)
        return low, self.bn_out(high)
