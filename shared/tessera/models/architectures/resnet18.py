"""ResNet-18 for classification of whole images: MAL's F, C and T for CIFAR (§5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tessera.models import ARCHITECTURES, ArchitectureTraits
from tessera.models.parameters import ClassificationParams
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class ResNet18(ClassificationParams):
    """Parameters; the defaults are torchvision's network."""

    hidden: int = Field(default=256, ge=1, le=65_536)
    """Width of the first layer of the prototype classifier, which a temperature asks for."""


_TRAITS = ArchitectureTraits(lambda params: params.offers, whole_images=True, imagenet="resnet18_imagenet.safetensors")


@ARCHITECTURES.register("resnet18", ResNet18, _TRAITS)
def build(params: Params, classes: int) -> SegmentationNetwork:
    """Build the network with weights from torch's current random state."""
    from tessera.models.classification import ClassificationHead
    from tessera.models.network import SegmentationNetwork
    from tessera.models.resnet import ResNet

    assert isinstance(params, ResNet18)  # noqa: S101 - narrows for the type checker
    backbone = ResNet(18, 32, params.width, low=False)
    return SegmentationNetwork(backbone, ClassificationHead(classes, backbone.high_channels, **params.of_head()))
