"""Rectangular cells: MEAL's 4 × 4 grid, or cells of a given size in pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tessera.errors import BadInput
from tessera.regions.partition import PARTITIONS, PartitionTraits
from tessera.registry import Params

_DEFAULT = {"rows": 4, "cols": 4}


class GridParams(Params):
    """Either ``rows`` and ``cols`` (MEAL: 4 and 4, the default) or ``height`` and ``width`` of a cell in pixels."""

    rows: int | None = Field(default=None, ge=1)
    cols: int | None = Field(default=None, ge=1)
    height: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if isinstance(given, dict) and all(given.get(key) is None for key in ("rows", "cols", "height", "width")):
            return {**given, **_DEFAULT}
        return given

    @model_validator(mode="after")
    def _one_pair(self) -> GridParams:
        by_count = self.rows is not None and self.cols is not None
        by_size = self.height is not None and self.width is not None
        if by_count == by_size or sum(v is not None for v in (self.rows, self.cols, self.height, self.width)) != 2:
            raise ValueError("give either rows and cols, or height and width of a cell in pixels")
        return self


@PARTITIONS.register("grid", GridParams, PartitionTraits(needs_image=False))
def grid(params: GridParams, shape: tuple[int, int], rgb: NDArray[np.uint8] | None) -> NDArray[np.int32]:
    """Cut into rows × cols cells, ids row-major; where the size does not divide, cells differ by at most one pixel.

    By size, the number of cells is the smallest for which none is larger than ``height`` × ``width``. BadInput: more
    rows or columns than pixels.
    """
    rows = params.rows if params.rows is not None else -(-shape[0] // (params.height or 1))
    cols = params.cols if params.cols is not None else -(-shape[1] // (params.width or 1))
    if rows > shape[0] or cols > shape[1]:
        raise BadInput(
            f"partition.grid: {rows} rows × {cols} cols need an image of at least {rows} × {cols} pixels, "
            f"and this one has {shape[0]} × {shape[1]}; ask for fewer cells"
        )
    row = np.arange(shape[0], dtype=np.int64) * rows // shape[0]
    col = np.arange(shape[1], dtype=np.int64) * cols // shape[1]
    return (row[:, None] * cols + col[None, :]).astype(np.int32)
