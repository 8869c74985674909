"""Artefacts that a training leaves beside its networks, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tensors:
    """Arrays by name, stored as safetensors: a memory bank, a discriminator."""

    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Planes:
    """Maps (H, W) uint8 of images, stored as PNG: pseudo labels and, as a second plane, where each comes from.

    ``images`` yields (image id, maps by plane name), so that a large set need not be in memory at once.
    """

    images: Iterable[tuple[str, Mapping[str, NDArray[np.uint8]]]]


Artefact = Tensors | Planes
