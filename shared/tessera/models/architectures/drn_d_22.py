"""DRN-D-22: a small dilated residual network for MAL, whose paper names DRN without a depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tessera.models import ARCHITECTURES, ArchitectureTraits, Offer
from tessera.registry import Params

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class DRND22Params(Params):
    """Parameters; the defaults are the published network with its one linear layer on top."""

    width: float = Field(default=1.0, gt=0.0, le=2.0)
    """Multiplies all channels. Published weights have 1.0."""
    temperature: float | None = Field(default=None, gt=0.0, le=10.0)
    """Temperature of MAL's prototypes, on features of length 1 (minimax entropy: 0.05); null: a linear classifier."""
    unit_prototypes: bool = False
    """Compare with prototypes of length 1, a true cosine; minimax entropy leaves their length free."""
    mc_dropout: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Probability of dropout before the classifier, in training and in the passes of BALD (MAL §4.1: 0.2, for its
    classification network). Without it the network cannot be scored by BALD."""


def _offers(params: DRND22Params) -> frozenset[Offer]:
    has: dict[Offer, bool] = {
        "mc_dropout": params.mc_dropout is not None,
        "prototypes": params.temperature is not None,
    }
    return frozenset(offer for offer, there in has.items() if there)


_TRAITS = ArchitectureTraits(_offers, "drn_d_22_imagenet.safetensors")


@ARCHITECTURES.register("drn_d_22", DRND22Params, _TRAITS)
def build(params: Params, classes: int) -> SegmentationNetwork:
    """Build the network with weights from torch's current random state."""
    from tessera.models.drn import DRND22
    from tessera.models.fcn import FCNHead
    from tessera.models.network import SegmentationNetwork

    assert isinstance(params, DRND22Params)  # noqa: S101 - narrows for the type checker
    backbone = DRND22(params.width)
    head = FCNHead(
        classes,
        backbone.high_channels,
        reduce=False,
        temperature=params.temperature,
        unit_prototypes=params.unit_prototypes,
        mc_dropout=params.mc_dropout,
    )
    return SegmentationNetwork(backbone, head)
