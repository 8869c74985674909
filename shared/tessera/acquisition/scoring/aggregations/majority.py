"""The dominant predicted class of a region."""

from __future__ import annotations

import numpy as np

from tessera.acquisition import AGGREGATIONS
from tessera.acquisition.interfaces import Aggregation
from tessera.acquisition.traits import AggregationTraits
from tessera.registry import Params


@AGGREGATIONS.register("majority", Params, AggregationTraits(by_class=True))
def majority(params: Params) -> Aggregation:
    """arg max_c Σ_{x: ĉ(x)=c} u(x), the lowest class of equal ones; of ``predicted``, the most frequent class.

    MulActSeg's D(s) and its rule for undefined regions (appendix, "Handling undefined class").
    """
    from tessera.acquisition.scoring.region_sums_kernel import add_by_class

    return Aggregation(add_by_class, "classes", lambda state, pixels: np.argmax(state, axis=1).astype(np.float64))
