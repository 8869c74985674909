"""Largest pixel score of a region."""

from __future__ import annotations

from tessera.acquisition import AGGREGATIONS
from tessera.acquisition.interfaces import Aggregation
from tessera.registry import Params


@AGGREGATIONS.register("max", Params)
def largest(params: Params) -> Aggregation:
    """max_x u(x)."""
    from tessera.acquisition.scoring.region_sums_kernel import max_runs

    return Aggregation(max_runs, (float("-inf"),), lambda state, pixels: state[:, 0])
