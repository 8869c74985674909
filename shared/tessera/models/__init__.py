"""Networks: torchvision's parameter names, no torchvision; importing this package does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tessera.pb.common_pb2 import AxisValue
from tessera.registry import Params, Registry

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork

Offer = Literal["projection_head", "last_convolution", "mc_dropout", "prototypes", "cells"]
"""Optional part of a network: pixel vectors for contrast, ImageNet's last convolution, BALD's dropout, cosine
classifier; a decoder that works at some cells alone."""


def _nothing(params: Any) -> frozenset[Offer]:
    return frozenset()


@dataclass(frozen=True)
class ArchitectureTraits:
    """State what an architecture offers, before it is built."""

    offers: Callable[[Any], frozenset[Offer]] = _nothing
    """function(params) → the optional parts that a network with these parameters has."""
    imagenet: str | None = None
    """File name of the backbone's ImageNet weights in the folder of weights; None:
    ``<architecture>_imagenet.safetensors``."""
    whole_images: bool = False
    """It classifies images: one class each, so that the partition must be ``image``."""


ARCHITECTURES: Registry[Callable[[Params, int], SegmentationNetwork], ArchitectureTraits] = Registry(
    "model", "tessera.models.architectures", ArchitectureTraits
)
"""Architecture name → function(params, classes) that builds the untrained network."""


def build(name: str, params_json: str, classes: int, seed: int = 0) -> SegmentationNetwork:
    """Build the network ``name`` for ``classes`` classes, every weight drawn from ``seed``; float32, eval mode.

    ``params_json`` is the JSON object of an AxisValue. BadInput: unknown name or parameter, fewer than two classes.
    """
    from tessera.errors import BadInput
    from tessera.models.network import seeded

    if not 2 <= classes <= 255:
        raise BadInput(f"model {name}: {classes} classes; label maps hold 2 to 255 (255 is the ignore index)")
    params = ARCHITECTURES.parameters(name, params_json)
    with seeded(seed):
        return ARCHITECTURES.entry(name).function(params, classes).eval()


def changed(axis: AxisValue, changes: Mapping[str, Any]) -> AxisValue:
    """Return an architecture with some of its parameters replaced; the same message where there is no change.

    BadInput for a parameter that the architecture does not have.
    """
    if not changes:
        return axis
    given = ARCHITECTURES.parameters(axis.name, axis.parameters).model_dump(mode="json") | dict(changes)
    return AxisValue(name=axis.name, parameters=ARCHITECTURES.canonical(axis.name, given))
