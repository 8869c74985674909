"""VGG16 for classification of whole images: MAL's F, C and T of its Table 9 (§5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tessera.models import ARCHITECTURES, ArchitectureTraits
from tessera.models.parameters import ClassificationParams
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class VGG16Params(ClassificationParams):
    """Parameters; the defaults are MAL's network: batch norm, and one linear layer on 512 × 7 × 7 numbers."""

    batch_norm: bool = True
    """After each convolution, as in VGG16-BN, whose 14.72 M parameters the paper counts."""
    cells: int = Field(default=7, ge=1, le=64)
    """The last map is averaged to cells × cells cells, as in torchvision."""
    hidden: int = Field(default=512, ge=1, le=65_536)
    """Width of the first layer of the prototype classifier, which a temperature asks for."""


_TRAITS = ArchitectureTraits(lambda params: params.offers, whole_images=True, imagenet="vgg16_bn_imagenet.safetensors")


@ARCHITECTURES.register("vgg16", VGG16Params, _TRAITS)
def build(params: Params, classes: int) -> SegmentationNetwork:
    """Build the network with weights from torch's current random state."""
    from tessera.models.classification import ClassificationHead
    from tessera.models.network import SegmentationNetwork
    from tessera.models.vgg import VGG16

    assert isinstance(params, VGG16Params)  # noqa: S101 - narrows for the type checker
    backbone = VGG16(params.width, batch_norm=params.batch_norm)
    head = ClassificationHead(classes, backbone.high_channels, cells=params.cells, **params.of_head())
    return SegmentationNetwork(backbone, head)
