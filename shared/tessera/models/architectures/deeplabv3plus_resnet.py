"""DeepLabv3+ on ResNet-18, 50 and 101: the networks of MulActSeg (50 and 101 with deep stem) and of PixelPick."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from tessera.models import ARCHITECTURES, ArchitectureTraits
from tessera.models.parameters import DeepLabV3PlusParams
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class DeepLabV3PlusResNet(DeepLabV3PlusParams):
    """Parameters. MulActSeg: deep_stem, separable and temperature 0.1; it drops out after the ASPP only."""

    deep_stem: bool = False
    """Three 3×3 convolutions in place of the first 7×7; ImageNet weights then come as a file of their own."""


def _builder(depth: Literal[18, 50, 101]) -> Callable[[Params, int], SegmentationNetwork]:
    def build(params: Params, classes: int) -> SegmentationNetwork:
        """Build the network with weights from torch's current random state."""
        from tessera.models.deeplabv3plus import head_of
        from tessera.models.network import SegmentationNetwork
        from tessera.models.resnet import ResNet

        assert isinstance(params, DeepLabV3PlusResNet)  # noqa: S101 - narrows for the type checker
        backbone = ResNet(depth, params.output_stride, params.width, deep_stem=params.deep_stem)
        return SegmentationNetwork(backbone, head_of(backbone, params, classes))

    return build


def _traits(depth: int) -> ArchitectureTraits:
    return ArchitectureTraits(lambda params: params.offers, f"resnet{depth}_imagenet.safetensors")


ARCHITECTURES.register("deeplabv3plus_resnet18", DeepLabV3PlusResNet, _traits(18))(_builder(18))
ARCHITECTURES.register("deeplabv3plus_resnet50", DeepLabV3PlusResNet, _traits(50))(_builder(50))
ARCHITECTURES.register("deeplabv3plus_resnet101", DeepLabV3PlusResNet, _traits(101))(_builder(101))
