"""MobileNetV2 (Sandler et al. 2018, table 2) up to its 320-channel block, with torchvision's parameter names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessera.models.backbone import Backbone

# Expansion t, channels c, repeats n, stride s: table 2 of the paper, without the final 1280-channel convolution.
_TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_BLOCKS = 18  # features.0 … features.17: those of a segmentation network
_LOW_END = 4  # features.0 … features.3 end at stride 4


def divisible(channels: float, divisor: int = 8) -> int:
    """Round ``channels`` to a multiple of ``divisor``, never down by more than a tenth (the paper's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int, groups: int, dilation: int) -> nn.Sequential:
    padding = (kernel - 1) // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand (1×1), depthwise (3×3), project (1×1, linear); adds its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv_bn_relu(inputs, hidden, 1, 1, 1, 1)]
        layers += [
            _conv_bn_relu(hidden, hidden, 3, stride, hidden, dilation),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(Backbone):
    """The backbone: ``features.0`` … ``features.17``, and, where it is asked for, ``features.18``.

    A stride that would pass ``output_stride`` becomes 1 and the layers after it are dilated instead, so that every
    filter keeps the field of view it was trained with (Chen et al. 2017, §3.1). Padding is one on every side.
    """

    unused = ("classifier.", "features.18.")

    def __init__(self, output_stride: int = 16, width: float = 1.0, *, last_convolution: bool = False) -> None:
        super().__init__()
        channels = divisible(32 * width)
        layers: list[nn.Module] = [_conv_bn_relu(3, channels, 3, 2, 1, 1)]
        stride, dilation = 2, 1
        for expansion, base, repeats, step in _TABLE:
            outputs = divisible(base * width)
            for index in range(repeats):
                wanted = step if index == 0 else 1
                reached = stride * wanted <= output_stride
                layers.append(InvertedResidual(channels, outputs, wanted if reached else 1, expansion, dilation))
                stride, dilation = (stride * wanted, dilation) if reached else (stride, dilation * wanted)
                channels = outputs
        self.low_channels = divisible(24 * width)
        self.high_channels = channels
        if last_convolution:
            layers.append(_conv_bn_relu(channels, divisible(1280 * max(1.0, width)), 1, 1, 1, 1))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) normalised RGB → low (N, 24, ⌈H/4⌉, ⌈W/4⌉) and high (N, 320, ⌈H/os⌉, ⌈W/os⌉) at width 1."""
        low = x
        for index in range(_BLOCKS):
            x = self.features[index](x)
            if index == _LOW_END - 1:
                low = x
        return low, x

    def widen(self, high: Tensor) -> Tensor | None:
        """(N, 320, h, w) → (N, 1280, h, w) by ``features.18``; None for a backbone without it."""
        return self.features[_BLOCKS](high) if len(self.features) > _BLOCKS else None


def backbone_input(rgb: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 (N, H, W, 3) → normalised (N, 3, H, W) in channels-last memory, by ImageNet's mean and deviation."""
    mean = torch.tensor((0.485, 0.456, 0.406), device=rgb.device) * 255.0
    scale = 1.0 / (torch.tensor((0.229, 0.224, 0.225), device=rgb.device) * 255.0)
    # The permuted view of contiguous (N, H, W, 3) memory is channels-last already.
    return ((rgb.float() - mean) * scale).to(dtype).permute(0, 3, 1, 2)
