"""DeepLabv3+ on MobileNetV2: the network of MEAL and PixelPick (5.81 M parameters at 11 classes)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tessera.models import ARCHITECTURES, ArchitectureTraits, Offer
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class DeepLabV3PlusMobileNetV2(Params):
    """Parameters; the defaults are the network the papers train."""

    output_stride: Literal[16, 8] = 16
    """Stride of the deepest map, by dilation; ASPP rates are 6, 12, 18 at 16 and 12, 24, 36 at 8."""
    width: float = Field(default=1.0, gt=0.0, le=2.0)
    """Multiplies the channels of backbone and head alike. Weights exist for 1.0 (imagenet) and 0.35 (street)."""
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """After the ASPP and the first decoder convolution; a fifth of it before the classifier."""
    mc_dropout: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Probability after each of the decoder's three convolutions, in training and in the passes of BALD; the
    Best-Practices study takes 0.1. Without it the network cannot be scored by BALD."""
    projection_head: int | None = Field(default=None, ge=1, le=4096)
    """Dimension of pixel vectors for contrastive training (128 in the superpixel-contrastive paper), made from the
    classifier's input; null: no such head. Supervised training leaves its weights as they were drawn."""
    last_convolution: bool = False
    """Carry ImageNet's last 1×1 convolution (1280 channels) along, for features ``backbone`` with that layer. It takes
    no part in segmentation, so training leaves it as it is."""
    temperature: float | None = Field(default=None, gt=0.0, le=10.0, exclude_if=lambda value: value is None)
    """Of a cosine classifier without bias (MulActSeg: 0.1); null: a linear classifier. Left out of canonical parameters
    where it is null, so that requests of networks without it stay what they were."""
    unit_prototypes: bool = Field(default=True, exclude_if=lambda value: value is True)
    """Compare with prototypes of length 1, a true cosine; false leaves their length free, as minimax entropy does."""


def _offers(params: DeepLabV3PlusMobileNetV2) -> frozenset[Offer]:
    has: dict[Offer, bool] = {
        "projection_head": params.projection_head is not None,
        "last_convolution": params.last_convolution,
        "mc_dropout": params.mc_dropout is not None,
        "prototypes": params.temperature is not None,
    }
    return frozenset(offer for offer, there in has.items() if there)


_TRAITS = ArchitectureTraits(_offers, "mobilenet_v2_imagenet.safetensors")


@ARCHITECTURES.register("deeplabv3plus_mobilenetv2", DeepLabV3PlusMobileNetV2, _TRAITS)
def build(params: Params, classes: int) -> SegmentationNetwork:
    """Build the network with weights from torch's current random state."""
    from tessera.models.deeplabv3plus import DeepLabV3PlusHead
    from tessera.models.mobilenetv2 import MobileNetV2
    from tessera.models.network import SegmentationNetwork

    assert isinstance(params, DeepLabV3PlusMobileNetV2)  # noqa: S101 - narrows for the type checker
    backbone = MobileNetV2(params.output_stride, params.width, last_convolution=params.last_convolution)
    head = DeepLabV3PlusHead(
        classes,
        backbone.low_channels,
        backbone.high_channels,
        output_stride=params.output_stride,
        width=params.width,
        dropout=params.dropout,
        mc_dropout=params.mc_dropout,
        projection_head=params.projection_head,
        temperature=params.temperature,
        unit_prototypes=params.unit_prototypes,
    )
    return SegmentationNetwork(backbone, head)
