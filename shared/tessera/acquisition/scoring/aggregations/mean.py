"""Mean over the pixels of a region."""

from __future__ import annotations

from tessera.acquisition import AGGREGATIONS
from tessera.acquisition.interfaces import Aggregation
from tessera.registry import Params


@AGGREGATIONS.register("mean", Params)
def mean(params: Params) -> Aggregation:
    """Σ_x u(x) / |s|: fair between regions of different size (MEAL §3.3; equal-sized patches rank as by the sum)."""
    from tessera.acquisition.scoring.region_sums_kernel import add_runs

    return Aggregation(add_runs, (0.0,), lambda state, pixels: state[:, 0] / pixels)
