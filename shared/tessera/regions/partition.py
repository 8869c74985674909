"""The partition axis: how an image is cut into regions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.registry import Params, Registry

MAX_REGIONS = 65_536
"""A region map is stored as a 16-bit PNG, so this many ids exist."""

PartitionFunction = Callable[[Any, tuple[int, int], "NDArray[np.uint8] | None"], NDArray[np.int32]]


@dataclass(frozen=True)
class PartitionTraits:
    """Traits of a partition."""

    needs_image: bool = True
    """It looks at the pixels. Others are given only the shape, so that nobody fetches the image, and images of one size
    share one stored map."""
    versioned: bool = False
    """Its regions depend on the version of a library, which the parameter ``implementation`` names."""


PARTITIONS: Registry[PartitionFunction, PartitionTraits] = Registry(
    "partition", "tessera.regions.methods", PartitionTraits
)
"""Name → method ``(params, (height, width), rgb or None) -> int32 (H, W)``, ids dense from 0."""


def needs_image(name: str) -> bool:
    """Return whether partition ``name`` looks at the pixels; BadInput for an unknown name."""
    return PARTITIONS.entry(name).traits.needs_image


def partition(
    name: str, params: Params | dict[str, Any] | str, source: NDArray[np.uint8] | tuple[int, int]
) -> NDArray[np.int32]:
    """Cut one image into regions.

    ``params`` are validated parameters, a dict or a JSON object; ``source`` is the image, uint8 (H, W, 3), or its shape
    (H, W) where the method does not need the pixels. Returns int32 (H, W) with dense ids 0 … R-1.
    BadInput: empty image, pixels needed but only a shape given, more regions than pixels or than a map can store.
    """
    entry = PARTITIONS.entry(name)
    checked = params if isinstance(params, Params) else PARTITIONS.parameters(name, params)
    rgb = None if isinstance(source, tuple) else source
    shape = source if isinstance(source, tuple) else (source.shape[0], source.shape[1])
    if len(shape) != 2 or min(shape) < 1:
        raise BadInput(f"partition.{name}: image of size {shape}; height and width must be at least 1 pixel")
    if rgb is None and needs_image(name):
        raise BadInput(f"partition.{name}: needs the pixels of the image, and only its size {shape} was given")
    regions = entry.function(checked, (int(shape[0]), int(shape[1])), rgb)
    count = int(regions.max()) + 1
    if count > MAX_REGIONS:
        raise BadInput(
            f"partition.{name}: {count:,} regions in one image of {shape[1]}×{shape[0]}; "
            f"a region map holds {MAX_REGIONS:,}: ask for larger regions"
        )
    return regions
