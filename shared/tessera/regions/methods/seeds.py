"""SEEDS superpixels with the pre-processing and parameters of the published superpixel pipelines."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tessera.regions import implementation, seeds
from tessera.regions.amount import CountOrSize
from tessera.regions.partition import PARTITIONS, PartitionTraits

METHOD = 1
"""Version of this module's own part; raise it when its regions change."""
TESTED = "5.0.0"
"""OpenCV that a recipe read without OpenCV means."""
_DISTRIBUTIONS = ("opencv-contrib-python-headless", "opencv-contrib-python")


def _implementation() -> str:
    return f"{METHOD}/opencv-{implementation.installed(*_DISTRIBUTIONS) or TESTED}"


class SeedsParams(CountOrSize):
    """Regions by ``count`` as OpenCV understands it, or by ``size`` in pixels; all else defaults to the paper's code.

    OpenCV halves a grid, so the real count follows in steps: at 480 × 360 and 5 levels, counts 192 to 675 all give the
    165 regions of 32 px, 96 to 180 give 70. ``size`` asks for the step itself and must be a multiple of
    2^(levels-1). Published: count 2048 for 2048 × 1024, which is size 32.
    """

    count: int | None = Field(default=None, ge=seeds.FEWEST, le=65_536)
    levels: int = Field(default=5, ge=2, le=10)
    prior: int = Field(default=3, ge=0, le=5)
    histogram_bins: int = Field(default=10, ge=2, le=64)
    iterations: int = Field(default=10, ge=1, le=1000)
    double_step: bool = True
    colour: Literal["hsv_equalized", "lab"] = "hsv_equalized"
    """``hsv_equalized`` is the published one; 8-bit ``lab`` with levels 4, histogram_bins 5 and iterations 4 is nearly
    as true to the classes and several times faster."""
    implementation: str = Field(default_factory=_implementation, max_length=64)
    """Who cuts: version of this method and of OpenCV. Filled in; part of the job key."""

    @model_validator(mode="after")
    def _whole_steps(self) -> SeedsParams:
        step = 1 << (self.levels - 1)
        if self.size is not None and self.size % step:
            raise ValueError(
                f"size {self.size} at {self.levels} levels: SEEDS builds regions in steps of {step} px; "
                f"give a multiple of {step}, or fewer levels"
            )
        return self


@PARTITIONS.register("seeds", SeedsParams, PartitionTraits(versioned=True))
def cut(params: SeedsParams, shape: tuple[int, int], rgb: NDArray[np.uint8] | None) -> NDArray[np.int32]:
    """Cut into SEEDS superpixels; ids in order of first appearance.

    Regions are what the library gives: most are one piece, a few consist of several (1.5 % at 32 px on CamVid), since
    its last steps move single pixels. BadInput: an image too small for the count, another OpenCV than the recipe names.
    """
    assert rgb is not None  # noqa: S101 - partition() checks the trait
    import cv2

    implementation.check("seeds", params.implementation, f"{METHOD}/opencv-{implementation.release(cv2.__version__)}")
    count = params.count if params.count is not None else seeds.request(shape, params.size or 32, params.levels)
    return seeds.cut(
        seeds.equalized_hsv(rgb) if params.colour == "hsv_equalized" else seeds.lab(rgb),
        count=count,
        levels=params.levels,
        prior=params.prior,
        bins=params.histogram_bins,
        iterations=params.iterations,
        double_step=params.double_step,
    )
