"""DeepLabv3+ on WideResNet-38: the network of the Best-Practices study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tessera.models import ARCHITECTURES, ArchitectureTraits
from tessera.models.parameters import DeepLabV3PlusParams
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class DeepLabV3PlusWideResNet38(DeepLabV3PlusParams):
    """Parameters; the low map is read at stride 4 (256 channels)."""

    output_stride: Literal[16, 8] = 8
    """Stride of the deepest map, by dilation; ASPP rates are 6, 12, 18 at 16 and 12, 24, 36 at 8."""


@ARCHITECTURES.register(
    "deeplabv3plus_wideresnet38",
    DeepLabV3PlusWideResNet38,
    ArchitectureTraits(lambda params: params.offers, "wideresnet38_imagenet.safetensors"),
)
def build(params: Params, classes: int) -> SegmentationNetwork:
    """Build the network with weights from torch's current random state."""
    from tessera.models.deeplabv3plus import head_of
    from tessera.models.network import SegmentationNetwork
    from tessera.models.wideresnet import WideResNet38

    assert isinstance(params, DeepLabV3PlusWideResNet38)  # noqa: S101 - narrows for the type checker
    backbone = WideResNet38(params.output_stride, params.width)
    return SegmentationNetwork(backbone, head_of(backbone, params, classes))
