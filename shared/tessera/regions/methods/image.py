"""The whole image as one region, for image-level active learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tessera.regions.partition import PARTITIONS, PartitionTraits
from tessera.registry import Params


class ImagePartitionParams(Params):
    """The whole image has no parameters."""


@PARTITIONS.register("image", ImagePartitionParams, PartitionTraits(needs_image=False))
def image(params: ImagePartitionParams, shape: tuple[int, int], rgb: NDArray[np.uint8] | None) -> NDArray[np.int32]:
    """Return one region, id 0, of the size of the image."""
    return np.zeros(shape, dtype=np.int32)
