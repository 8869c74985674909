"""Parameters that several architectures share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tessera.models import Offer
from tessera.registry import Params


class DeepLabV3PlusParams(Params):
    """Parameters of DeepLabv3+ on any backbone."""

    output_stride: Literal[16, 8] = 16
    """Stride of the deepest map, by dilation; ASPP rates are 6, 12, 18 at 16 and 12, 24, 36 at 8."""
    width: float = Field(default=1.0, gt=0.0, le=2.0)
    """Multiplies the channels of backbone and head alike. Published weights have 1.0."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Probability of dropout after the ASPP and the first decoder convolution; a fifth of it before the classifier."""
    mc_dropout: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Probability of dropout after each of the decoder's three convolutions, in training and in the passes of BALD; the
    Best-Practices study takes 0.1. Without it the network cannot be scored by BALD."""
    projection_head: int | None = Field(default=None, ge=1, le=4096)
    """Dimension of pixel vectors for contrastive training, made from the classifier's input (128 in the
    superpixel-contrastive paper); null: no such head. Supervised training leaves its weights as they were drawn."""
    separable: bool = False
    """3×3 convolutions of the head as one per channel and a 1×1, as in MulActSeg's networks."""
    temperature: float | None = Field(default=None, gt=0.0, le=10.0)
    """Temperature of a cosine classifier without bias (MulActSeg: 0.1); null: a linear classifier."""
    unit_prototypes: bool = Field(default=True, exclude_if=lambda value: value is True)
    """Compare with prototypes of length 1, a true cosine; false leaves their length free, as minimax entropy does."""

    @property
    def offers(self) -> frozenset[Offer]:
        """Optional parts that the network has."""
        has: dict[Offer, bool] = {
            "projection_head": self.projection_head is not None,
            "mc_dropout": self.mc_dropout is not None,
            "prototypes": self.temperature is not None,
            "cells": True,
        }
        return frozenset(offer for offer, there in has.items() if there)


class ClassificationParams(Params):
    """Parameters of a network that classifies whole images, on any backbone."""

    width: float = Field(default=1.0, gt=0.0, le=2.0)
    """Multiplies the channels of the backbone. Published weights have 1.0."""
    hidden: int = 256
    """Width of the first layer of the prototype classifier."""
    temperature: float | None = Field(default=None, gt=0.0, le=10.0)
    """Temperature of a classifier by prototypes on unit vectors, behind a first layer of width ``hidden`` (MAL: C;
    minimax entropy takes 0.05); null: a linear classifier (MAL: T)."""
    unit_prototypes: bool = False
    """Compare with prototypes of length 1, a true cosine; minimax entropy leaves their length free."""
    mc_dropout: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Probability of dropout before the final average pooling, in training and in the passes of BALD (MAL §4.1: 0.2).
    Without it the network cannot be scored by BALD."""

    def of_head(self) -> dict[str, Any]:
        """Return the arguments of the head that all backbones share."""
        names = ("hidden", "temperature", "unit_prototypes", "mc_dropout")
        return {name: getattr(self, name) for name in names}

    @property
    def offers(self) -> frozenset[Offer]:
        """Optional parts that the network has."""
        has: dict[Offer, bool] = {
            "mc_dropout": self.mc_dropout is not None,
            "prototypes": self.temperature is not None,
        }
        return frozenset(offer for offer, there in has.items() if there)
