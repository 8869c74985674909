"""SegFormer with Hugging Face's encoder; needs the extra ``hf``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tessera.models import ARCHITECTURES
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork

Four = tuple[int, int, int, int]
_SMALL, _LARGE = (32, 64, 160, 256), (64, 128, 320, 512)
_SIZES: dict[str, tuple[Four, Four, int]] = {
    "b0": (_SMALL, (2, 2, 2, 2), 256),
    "b1": (_LARGE, (2, 2, 2, 2), 256),
    "b2": (_LARGE, (3, 4, 6, 3), 768),
    "b3": (_LARGE, (3, 4, 18, 3), 768),
    "b4": (_LARGE, (3, 8, 27, 3), 768),
    "b5": (_LARGE, (3, 6, 40, 3), 768),
}


class SegFormerParams(Params):
    """Parameters; the defaults are SegFormer-B0. Weights of nvidia/mit-b0 … b5 (safetensors) are given as a file."""

    size: Literal["b0", "b1", "b2", "b3", "b4", "b5"] = "b0"
    hidden: Four | None = None
    """Channels of the four stages, multiples of 1, 2, 5 and 8 (attention heads); null: those of the size."""
    depths: Four | None = None
    """Blocks of the four stages; null: those of the size."""
    decoder: int | None = Field(default=None, ge=8, le=4096)
    """Channels of the decoder; null: those of the size."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Probability of dropout before the classifier."""


@ARCHITECTURES.register("segformer", SegFormerParams)
def build(params: Params, classes: int) -> SegmentationNetwork:
    """Build the network with weights from torch's current random state."""
    from tessera.models.network import SegmentationNetwork
    from tessera.models.segformer import SegFormerEncoder, SegFormerHead

    assert isinstance(params, SegFormerParams)  # noqa: S101 - narrows for the type checker
    hidden, depths, decoder = _SIZES[params.size]
    hidden, depths = params.hidden or hidden, params.depths or depths
    backbone = SegFormerEncoder(hidden, depths)
    return SegmentationNetwork(backbone, SegFormerHead(classes, hidden, params.decoder or decoder, params.dropout))
