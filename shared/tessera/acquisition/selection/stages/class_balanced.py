"""Uncertain regions of rare classes: PixBal, and the ClassBal baseline."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection import balance
from tessera.acquisition.selection.pool import Choice, Float64, Int64, Pool
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from tessera.registry import Params

_NAME = "class_balanced"


class ClassBalancedParams(Params):
    """Defaults are MulActSeg's on Cityscapes; ν is 12 on VOC.

    ``uncertainty`` null is column bvsb_by_class for pixbal and bvsb_mean for classbal. ``count`` null keeps everything,
    in order of the new score, which later stages may name as ``column``.
    """

    mode: Literal["pixbal", "classbal"] = "pixbal"
    nu: float = Field(default=6.0, ge=0.0, allow_inf_nan=False)
    prior_over: Literal["pool", "unlabelled"] = "pool"
    """Regions over which the class distribution (and classbal's extremes) are computed: all of the data set, as in the
    paper's code, or the input of the stage."""
    undefined: int | None = Field(default=None, ge=0)
    """Index of the class "undefined", whose labels teach nothing; null where there is none."""
    excluded: Literal["last", "drop"] = "last"
    """Regions predicted mostly undefined get score 0, and so come last, or are dropped."""
    uncertainty: str | None = None
    prior: str = "probability_mean"
    majority: str = "predicted_majority"
    column: str = _NAME
    count: int | None = Field(default=None, ge=1)

    def uncertainty_column(self) -> str:
        """Return the column of the uncertainty."""
        return self.uncertainty or ("bvsb_by_class" if self.mode == "pixbal" else "bvsb_mean")


def _needs(params: ClassBalancedParams) -> list[tuple[str, tuple[str, str]]]:
    aggregate = "by_class" if params.mode == "pixbal" else "mean"
    needed = [(params.uncertainty_column(), ("bvsb", aggregate))]
    if params.mode == "pixbal":
        needed.append((params.prior, ("probability", "mean")))
    if params.mode == "classbal" or params.undefined is not None:
        needed.append((params.majority, ("predicted", "majority")))
    return needed


@STAGES.register(
    _NAME,
    ClassBalancedParams,
    StageTraits(
        needs_scores=True,
        needs_everything=lambda params: params.prior_over == "pool",
        needs_columns=_needs,
        undefined=lambda params: params.undefined,
        makes_columns=lambda params: [params.column],
    ),
)
def class_balanced(pool: Pool, params: ClassBalancedParams, count: int, rng: np.random.Generator) -> Choice:
    """Rank by PixBal (MulActSeg Eq. 4) or ClassBal (Cai et al. 2021); ties by image_id, then region_id.

    The class distribution is summed over all of the pool's regions in their canonical order, so the shards do not
    matter; ``pool.everything`` must hold the labelled ones where ``prior_over`` is pool. Regions mostly predicted as
    ``undefined`` are left out or last (MulActSeg, appendix, "Handling undefined class").
    BadInput naming the column that is missing, or the region whose value is NaN.
    """
    whole = pool
    if params.prior_over == "pool":
        if pool.everything is None:
            raise BadInput(f"selection stage {_NAME}: prior_over pool needs the labelled regions' scores too")
        whole = pool.everything
    score = _pixbal(pool, whole, params) if params.mode == "pixbal" else _classbal(pool, whole, params)
    rows: Int64 = np.arange(len(pool), dtype=np.int64)
    note = ""
    if params.undefined is not None:
        undefined = balance.dominant_class(pool, params.majority, _NAME) == params.undefined
        score = np.where(undefined, 0.0, score)
        note = f"{int(undefined.sum())} of {len(pool)} regions are mostly undefined (class {params.undefined})"
        if params.excluded == "drop":
            rows = np.flatnonzero(~undefined)
    rows = rows[np.argsort(-score[rows], kind="stable")][: params.count]
    return Choice(rows, score[rows], np.full(len(rows), -1, np.int64), note, {params.column: score[rows]})


def _pixbal(pool: Pool, whole: Pool, params: ClassBalancedParams) -> Float64:
    sums, shares = pool.components(params.uncertainty_column()), whole.components(params.prior)
    if len(sums) != len(shares):
        raise BadInput(
            f"selection stage {_NAME}: {params.uncertainty_column()} has {len(sums)} classes and {params.prior} "
            f"{len(shares)}; score both with one model"
        )
    if params.undefined is not None and params.undefined >= len(sums):
        raise BadInput(
            f"selection stage {_NAME}: undefined is class {params.undefined}, and the model knows 0 … {len(sums) - 1}; "
            "train with a class for undefined pixels, or leave undefined out"
        )
    balance.require_numbers(whole, [f"{params.prior}_{c}" for c in range(len(shares))], _NAME)
    return balance.pixbal(pool.pixels, sums, balance.class_prior(whole.pixels, shares), params.nu)


def _classbal(pool: Pool, whole: Pool, params: ClassBalancedParams) -> Float64:
    column = params.uncertainty_column()
    uncertainty, everywhere = pool.score(column, _NAME), whole.score(column, _NAME)
    balance.require_numbers(whole, [column], _NAME)
    counts = np.bincount(balance.dominant_class(whole, params.majority, _NAME))
    dominant = balance.dominant_class(pool, params.majority, _NAME)
    low, high = float(everywhere.min()), float(everywhere.max())
    return balance.classbal(uncertainty, dominant, low, high, counts / len(whole))
