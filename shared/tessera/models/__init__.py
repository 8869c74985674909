"""Networks: torchvision's parameter names, no torchvision; importing this package does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tessera.registry import Params, Registry

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork

ARCHITECTURES: Registry[Callable[[Params, int], SegmentationNetwork]] = Registry(
    "model", "tessera.models.architectures"
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
