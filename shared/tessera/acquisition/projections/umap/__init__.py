"""UMAP, MEAL's manifold embedding."""

from __future__ import annotations

from tessera.acquisition import PROJECTIONS
from tessera.acquisition.interfaces import Projection
from tessera.acquisition.projections.umap.params import UmapParams


@PROJECTIONS.register("umap", UmapParams)
def umap(params: UmapParams) -> Projection:
    """Return UMAP (McInnes et al. 2018; MEAL §3.2) by umap-learn, seeded.

    The first use on a machine compiles for 20 s.
    """
    from tessera.acquisition.projections.umap.fit import Umap

    return Umap(params)
