"""DeepLabv3+ on MobileNetV2: the network of MEAL and PixelPick (5.81 M parameters at 11 classes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tessera.models import ARCHITECTURES, ArchitectureTraits, Offer
from tessera.models.parameters import DeepLabV3PlusParams
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class DeepLabV3PlusMobileNetV2(DeepLabV3PlusParams):
    """Parameters; the defaults are the network the papers train."""

    width: float = Field(default=1.0, gt=0.0, le=2.0)
    """Multiplies the channels of backbone and head alike. Weights exist for 1.0 (imagenet) and 0.35 (street)."""
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Probability of dropout after the ASPP and the first decoder convolution; a fifth of it before the classifier."""
    last_convolution: bool = False
    """Carry ImageNet's last 1×1 convolution (1280 channels) along, for features ``backbone`` with that layer. It takes
    no part in segmentation, so training leaves it as it is."""
    separable: bool = Field(default=False, exclude_if=lambda value: value is False)
    """3×3 convolutions of the head as one per channel and a 1×1, as in MulActSeg's networks. Left out of canonical
    parameters where it is false, so that requests of networks without it stay the same."""
    temperature: float | None = Field(default=None, gt=0.0, le=10.0, exclude_if=lambda value: value is None)
    """Temperature of a cosine classifier without bias (MulActSeg: 0.1); null: a linear classifier. Left out of
    canonical parameters where it is null, so that requests of networks without it stay the same."""

    @property
    def offers(self) -> frozenset[Offer]:
        """Optional parts that the network has."""
        last: frozenset[Offer] = frozenset({"last_convolution"} if self.last_convolution else ())
        return super().offers | last


_TRAITS = ArchitectureTraits(lambda params: params.offers, "mobilenet_v2_imagenet.safetensors")


@ARCHITECTURES.register("deeplabv3plus_mobilenetv2", DeepLabV3PlusMobileNetV2, _TRAITS)
def build(params: Params, classes: int) -> SegmentationNetwork:
    """Build the network with weights from torch's current random state."""
    from tessera.models.deeplabv3plus import head_of
    from tessera.models.mobilenetv2 import MobileNetV2
    from tessera.models.network import SegmentationNetwork

    assert isinstance(params, DeepLabV3PlusMobileNetV2)  # noqa: S101 - narrows for the type checker
    backbone = MobileNetV2(params.output_stride, params.width, last_convolution=params.last_convolution)
    return SegmentationNetwork(backbone, head_of(backbone, params, classes))
