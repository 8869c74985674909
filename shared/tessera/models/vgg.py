"""VGG16's convolutions (Simonyan and Zisserman 2015) with torchvision's parameter names; for classification."""

from __future__ import annotations

from torch import Tensor, nn

from tessera.errors import BadInput
from tessera.models.backbone import Backbone, size_only
from tessera.models.mobilenetv2 import divisible

_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_STRIDE = 32


class VGG16(Backbone):
    """``features.0`` …: five stages of 3×3 convolutions with bias, ReLU and max pooling of stride 2; stride 32.

    14,714,688 parameters, 14,723,136 with batch norm. Weights of torchvision's vgg16 and vgg16_bn load strictly, but
    for ``classifier``.
    """

    unused = ("classifier.",)
    low_channels = 0

    def __init__(self, width: float = 1.0, *, batch_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage in _CHANNELS:
            for published in stage:
                channels = divisible(published * width)
                layers.append(nn.Conv2d(before, channels, 3, padding=1))
                layers += [nn.BatchNorm2d(channels)] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                before = channels
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.high_channels = before
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None  # noqa: S101 - all of them have one
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, H, W) RGB, normalised → low (N, 0, …), high (N, 512, ⌊H/32⌋, ⌊W/32⌋); BadInput below 32 pixels."""
        if min(x.shape[2:]) < _STRIDE:
            raise BadInput(
                f"model vgg16: images of {x.shape[3]}×{x.shape[2]} pixels vanish in its five poolings; both sides need "
                f"{_STRIDE} pixels or more"
            )
        return size_only(x), self.features(x)
