"""Minimum distance in time between regions of one sequence: neighbouring video frames show the same scene."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tessera.acquisition import CONSTRAINTS
from tessera.acquisition.selection.pool import Pool
from tessera.acquisition.traits import ConstraintTraits
from tessera.errors import BadInput
from tessera.registry import Params

_ROUNDING = 1e-6
"""Seconds: frames at 30 Hz that lie 1 s apart are not always 1.0 apart in floating point."""


class MinSecondsParams(Params):
    """``against``: those chosen in this round, or also those labelled in earlier ones."""

    seconds: float = Field(gt=0.0, allow_inf_nan=False)
    against: Literal["round", "labelled"] = "round"


class _MinSeconds:
    def __init__(self, pool: Pool, params: MinSecondsParams) -> None:
        self._pool, self._seconds = pool, params.seconds
        self._free = np.ones(len(pool.image_names), bool)
        if params.against == "labelled":
            for image in pool.labelled_images:
                self._block(int(image))

    def _block(self, image: int) -> None:
        sequence = self._pool.image_sequence
        if sequence[image] >= 0:
            near = np.abs(self._pool.image_time - self._pool.image_time[image]) < self._seconds - _ROUNDING
            self._free &= ~((sequence == sequence[image]) & near)

    def allows(self, row: int) -> bool:
        return bool(self._free[self._pool.image[row]])

    def accept(self, row: int) -> None:
        self._block(int(self._pool.image[row]))

    def open(self) -> npt.NDArray[np.bool_]:
        return self._free[self._pool.image]


@CONSTRAINTS.register("min_seconds", MinSecondsParams, ConstraintTraits(needs_times=True))
def min_seconds(pool: Pool, params: Any) -> _MinSeconds:
    """Refuse a region less than ``seconds`` from a chosen one of its sequence; so at most one region per frame.

    Images without a sequence are never refused. BadInput when no image of the pool has one, or sequences are not known.
    """
    if pool.times is None:
        raise BadInput("selection.constraints: min_seconds needs the data set's manifest; name it in the request")
    if (pool.image_sequence < 0).all():
        raise BadInput(
            "selection.constraints: min_seconds has no effect, because no image of this data set is part of "
            "a sequence; remove it, or name images SEQUENCE_FRAME and import them again"
        )
    return _MinSeconds(pool, params)
