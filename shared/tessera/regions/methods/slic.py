"""SLIC superpixels, the alternative of the published superpixel comparison."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tessera.errors import BadInput
from tessera.regions import implementation, slic
from tessera.regions.amount import CountOrSize
from tessera.regions.partition import PARTITIONS, PartitionTraits
from tessera.regions.table import compact

METHOD = 1
"""Version of this module's own part; raise it when its regions change."""
TESTED = "0.26.0"
"""scikit-image that a recipe read without it means."""


def _implementation() -> str:
    return f"{METHOD}/scikit-image-{implementation.installed('scikit-image') or TESTED}"


class SlicParams(CountOrSize):
    """Regions by ``count`` or by ``size`` in pixels (count = round(height / size) · round(width / size)).

    Defaults are the published call: the image as it is, not equalised, sigma 0, compactness 10 in Lab. The library
    keeps to the count only roughly (192 give 142 at 480 × 360): the real one is read back.
    """

    compactness: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    sigma: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    iterations: int = Field(default=10, ge=1, le=1000)
    implementation: str = Field(default_factory=_implementation, max_length=64)
    """Who cuts: version of this method and of scikit-image. Filled in; part of the job key."""


@PARTITIONS.register("slic", SlicParams, PartitionTraits(versioned=True))
def cut(params: SlicParams, shape: tuple[int, int], rgb: NDArray[np.uint8] | None) -> NDArray[np.int32]:
    """Cut into SLIC superpixels, each in one piece; ids in order of first appearance.

    BadInput: more regions than pixels, another scikit-image than the recipe names.
    """
    assert rgb is not None  # noqa: S101 - partition() checks the trait
    import skimage

    here = f"{METHOD}/scikit-image-{implementation.release(skimage.__version__)}"  # type: ignore[attr-defined]  # lazily loaded
    implementation.check("slic", params.implementation, here)
    if params.count is not None:
        count = params.count
    else:
        size = params.size or 32
        count = max(1, round(shape[0] / size)) * max(1, round(shape[1] / size))
    if count > shape[0] * shape[1]:
        raise BadInput(f"partition.slic: {count} regions asked of {shape[0] * shape[1]} pixels; ask for fewer")
    labels = slic.cut(
        rgb, count=count, compactness=params.compactness, sigma=params.sigma, iterations=params.iterations
    )
    regions, _ = compact(labels)
    return regions
