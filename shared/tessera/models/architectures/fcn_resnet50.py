"""FCN on ResNet-50, the network of EquAL and of the superpixel-contrastive paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tessera.models import ARCHITECTURES, ArchitectureTraits, Offer
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class FCNResNet50(Params):
    """Parameters; the defaults are torchvision's network, without its auxiliary classifier."""

    output_stride: Literal[16, 8] = 8
    """Stride of the deepest map, by dilation."""
    width: float = Field(default=1.0, gt=0.0, le=2.0)
    """Multiplies the channels of backbone and head alike. Published weights have 1.0."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Probability of dropout before the classifier."""
    projection_head: int | None = Field(default=None, ge=1, le=4096)
    """Dimension of pixel vectors for contrastive training (128 in the superpixel-contrastive paper), made from the
    deepest map; null: no such head."""
    temperature: float | None = Field(default=None, gt=0.0, le=10.0)
    """Temperature of a cosine classifier without bias; null: a linear classifier."""


def _offers(params: FCNResNet50) -> frozenset[Offer]:
    has: dict[Offer, bool] = {
        "projection_head": params.projection_head is not None,
        "prototypes": params.temperature is not None,
    }
    return frozenset(offer for offer, there in has.items() if there)


@ARCHITECTURES.register("fcn_resnet50", FCNResNet50, ArchitectureTraits(_offers, "resnet50_imagenet.safetensors"))
def build(params: Params, classes: int) -> SegmentationNetwork:
    """Build the network with weights from torch's current random state."""
    from tessera.models.fcn import FCNHead
    from tessera.models.network import SegmentationNetwork
    from tessera.models.resnet import ResNet

    assert isinstance(params, FCNResNet50)  # noqa: S101 - narrows for the type checker
    backbone = ResNet(50, params.output_stride, params.width, low=False)
    head = FCNHead(
        classes,
        backbone.high_channels,
        output_stride=params.output_stride,
        dropout=params.dropout,
        temperature=params.temperature,
        projection_head=params.projection_head,
    )
    return SegmentationNetwork(backbone, head)
