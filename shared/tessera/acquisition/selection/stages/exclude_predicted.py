"""Leave out regions whose predicted class is not worth a question."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection import balance
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.registry import Params


class ExcludePredictedParams(Params):
    """``classes``: indices, such as that of "undefined"; ``majority``: the column of the dominant predicted class."""

    classes: tuple[int, ...] = Field(min_length=1)
    majority: str = "predicted_majority"


@STAGES.register(
    "exclude_predicted",
    ExcludePredictedParams,
    StageTraits(needs_scores=True, needs_columns=lambda params: [(params.majority, ("predicted", "majority"))]),
)
def exclude_predicted(pool: Pool, params: ExcludePredictedParams, count: int, rng: np.random.Generator) -> Choice:
    """Keep regions whose dominant predicted class is none of ``classes`` (MulActSeg's rule for undefined regions).

    Decided from predictions alone: the selector never sees a label. Any stage may follow; none is dropped for another
    reason.
    """
    excluded = np.isin(balance.dominant_class(pool, params.majority, "exclude_predicted"), params.classes)
    return Choice(np.flatnonzero(~excluded), note=f"{int(excluded.sum())} of {len(pool)} regions left out")
