"""Leave out regions whose predicted class is not worth a question."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from tessera.acquisition import STAGES
from tessera.acquisition.selection import balance
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.registry import Params


class ExcludePredictedParams(Params):
    """Which predicted classes to leave out: at least one."""

    classes: tuple[int, ...] = ()
    """Indices of classes of the data set."""
    undefined: int | None = Field(default=None, ge=0)
    """Index of the class "undefined", the number of the data set's classes; null where it is not left out."""
    majority: str = "predicted_majority"
    """Column of the dominant predicted class."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.classes and self.undefined is None:
            raise ValueError("leaves out no class: give classes, undefined or both")
        return self


@STAGES.register(
    "exclude_predicted",
    ExcludePredictedParams,
    StageTraits(
        needs_scores=True,
        needs_columns=lambda params: [(params.majority, ("predicted", "majority"))],
        undefined=lambda params: params.undefined,
    ),
)
def exclude_predicted(pool: Pool, params: ExcludePredictedParams, count: int, rng: np.random.Generator) -> Choice:
    """Keep regions whose dominant predicted class is none of ``classes`` and not ``undefined``.

    With ``undefined`` it is MulActSeg's rule for undefined regions.

    Decided from predictions alone: the selector never sees a label. Any stage may follow; none is dropped for another
    reason.
    """
    out = [*params.classes] if params.undefined is None else [*params.classes, params.undefined]
    excluded = np.isin(balance.dominant_class(pool, params.majority, "exclude_predicted"), out)
    return Choice(np.flatnonzero(~excluded), note=f"{int(excluded.sum())} of {len(pool)} regions left out")
