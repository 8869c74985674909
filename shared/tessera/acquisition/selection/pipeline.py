"""Runs the stages of a selection over a pool and cuts the ranking at the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tessera.acquisition import STAGES
from tessera.acquisition.selection.budget import Budget, unit_of
from tessera.acquisition.selection.pool import Choice, Float64, Int64, Pool
from tessera.errors import BadInput


@dataclass(frozen=True)
class Stage:
    """A registered stage and its parameters, canonical JSON."""

    name: str
    parameters: str = "{}"


@dataclass(frozen=True)
class Ranked:
    """The outcome: rows of the pool in rank order, their score (NaN: none) and cluster (−1: none)."""

    rows: Int64
    score: Float64
    cluster: Int64


def run_stages(
    pool: Pool, stages: Sequence[Stage], budget: Budget | None, seed: int, score: Float64 | None = None
) -> Ranked:
    """Apply ``stages`` in order, each to what the one before kept, and keep what ``budget`` pays for.

    ``pool`` holds the regions not yet labelled; ``score`` (n,) is what an earlier selection said of them. The budget is
    an upper bound: stages may keep fewer, and without one they alone decide. Stage i draws from
    ``default_rng([seed, i])``, so that neither the order of rows and shards nor the other stages' draws matter.
    BadInput: an empty pool, no stages, NaN scores or embedding (naming image and region), or a budget that exceeds what
    is left (naming both numbers).
    """
    if len(pool) == 0:
        raise BadInput("selection: no unlabelled regions are left; lower budget.rounds or add images")
    if not stages:
        raise BadInput("selection.stages: empty; name at least one stage, for example [{name: top}]")
    _check_finite(pool)
    _check_budget(pool, budget)
    rows = np.arange(len(pool), dtype=np.int64)
    scores = np.full(len(pool), np.nan) if score is None else np.asarray(score, np.float64)
    clusters = np.full(len(pool), -1, np.int64)
    for index, stage in enumerate(stages):
        # Stages see the canonical order, so what an earlier one kept is sorted again.
        by_row = np.argsort(rows, kind="stable")
        rows, scores, clusters = rows[by_row], scores[by_row], clusters[by_row]
        kept = pool.take(rows)
        count = len(kept) if budget is None else unit_of(budget).most(kept, budget.amount)
        choice = _call(stage, kept, count, np.random.default_rng([seed, index]))
        rows = rows[choice.rows]
        scores = scores[choice.rows] if choice.score is None else choice.score
        clusters = clusters[choice.rows] if choice.cluster is None else choice.cluster
    if budget is not None:
        reach = unit_of(budget).cut(pool, rows, budget.amount)
        rows, scores, clusters = rows[:reach], scores[:reach], clusters[:reach]
    return Ranked(rows, scores, clusters)


def _call(stage: Stage, pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    entry = STAGES.entry(stage.name)
    choice = entry.function(pool, STAGES.parameters(stage.name, stage.parameters), count, rng)
    if len(np.unique(choice.rows)) != len(choice.rows):
        raise AssertionError(f"stage {stage.name} chose a region twice")
    return choice


def _check_budget(pool: Pool, budget: Budget | None) -> None:
    if budget is None:
        return
    available = unit_of(budget).available(pool)
    if budget.amount > available:
        raise BadInput(
            f"budget: {budget.amount:.15g} {budget.unit} are asked for and {available:.15g} unlabelled {budget.unit} "
            "are left; lower budget.per_round or budget.rounds"
        )


def _check_finite(pool: Pool) -> None:
    for name, column in pool.scores.items():
        bad = np.flatnonzero(np.isnan(column))
        if len(bad):
            raise BadInput(f"score {name} is NaN for {pool.name(int(bad[0]))} ({len(bad)} in all); check the weights")
    if pool.embedding is not None:
        bad = np.flatnonzero(~np.isfinite(pool.embedding).all(axis=1))
        if len(bad):
            raise BadInput(f"the embedding of {pool.name(int(bad[0]))} is not finite ({len(bad)} in all)")
