"""Sum over the pixels of a region, split by the class predicted at each."""

from __future__ import annotations

from tessera.acquisition import AGGREGATIONS
from tessera.acquisition.interfaces import Aggregation
from tessera.acquisition.traits import AggregationTraits
from tessera.registry import Params


@AGGREGATIONS.register("by_class", Params, AggregationTraits(per_class=True, by_class=True))
def by_class(params: Params) -> Aggregation:
    """Σ_{x: ĉ(x)=c} u(x) for c = 0 … C−1, ĉ the predicted class; PixBal weights these sums (MulActSeg Eq. 4).

    Zero for a class predicted nowhere in the region; the C sums add up to the aggregate ``sum``.
    """
    from tessera.acquisition.scoring.region_sums_kernel import add_by_class

    return Aggregation(add_by_class, "classes", lambda state, pixels: state)
