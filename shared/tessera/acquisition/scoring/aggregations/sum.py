"""Sum over the pixels of a region."""

from __future__ import annotations

from tessera.acquisition import AGGREGATIONS
from tessera.acquisition.interfaces import Aggregation
from tessera.registry import Params


@AGGREGATIONS.register("sum", Params)
def total(params: Params) -> Aggregation:
    """Σ_x u(x): favours larger regions (superpixel-contrastive paper, H(S))."""
    from tessera.acquisition.scoring.region_sums_kernel import add_runs

    return Aggregation(add_runs, (0.0,), lambda state, pixels: state[:, 0])
