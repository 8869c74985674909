"""Parameters of UMAP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tessera.registry import Params


class UmapParams(Params):
    """MEAL fixes ``dimensions`` only; the rest are the library's defaults, ``epochs`` null included.

    ``layout`` has one value, the library's: it stays in canonical recipes and job keys. ``refine`` is the number of
    epochs that refine a new point's place, null for the library's rule; ``search`` is how neighbours are found: auto is
    exact until that takes minutes.
    """

    dimensions: int = Field(default=2, ge=1)
    neighbors: int = Field(default=15, ge=2)
    min_dist: float = Field(default=0.1, ge=0.0, le=1.0)
    metric: Literal["euclidean", "cosine"] = "euclidean"
    init: Literal["spectral", "pca", "random"] = "spectral"
    epochs: int | None = Field(default=None, ge=1)
    layout: Literal["sequential"] = "sequential"
    refine: int | None = Field(default=None, ge=0, le=1000)
    search: Literal["auto", "exact", "approximate"] = "auto"
