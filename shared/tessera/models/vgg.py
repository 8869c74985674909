"""VGG16's features (Simonyan and Zisserman 2015) with torchvision's parameter names; for classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Features(nn.Module):
    """``features.0`` … ``features.30``: five stages of 3×3 convolutions with bias, ReLU and max pooling of stride 2.

    14,714,688 parameters. Weights of torchvision's vgg16 load strictly, but for ``classifier``.
    """

    unused = ("classifier.",)
    vector_length = 512 * 7 * 7

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage in _CHANNELS:
            for channels in stage:
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) normalised RGB, H and W at least 32 → (N, 25088): the last map averaged to 7×7 cells,
        flat."""
        return F.adaptive_avg_pool2d(self.features(x), 7).flatten(1)
