"""Run the stages of a selection over a pool and cut the ranking at the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tessera.acquisition import CONSTRAINTS, STAGES
from tessera.acquisition.selection import budget as money
from tessera.acquisition.selection.budget import Budget, unit_of
from tessera.acquisition.selection.pool import Choice, Constraint, Float64, Int64, Pool
from tessera.errors import BadInput


@dataclass(frozen=True)
class Stage:
    """A registered stage (or constraint) and its parameters, canonical JSON."""

    name: str
    parameters: str = "{}"


@dataclass(frozen=True)
class Ranked:
    """A ranking: rows of the pool in rank order, their score (NaN: none) and cluster (−1: none), and remarks."""

    rows: Int64
    score: Float64
    cluster: Int64
    notes: tuple[str, ...] = ()

    def first(self, count: int) -> Ranked:
        """Return the first ``count`` of them."""
        return replace(self, rows=self.rows[:count], score=self.score[:count], cluster=self.cluster[:count])


def run_stages(
    pool: Pool,
    stages: Sequence[Stage],
    budget: Budget | None,
    seed: int,
    score: Float64 | None = None,
    constraints: Sequence[Stage] = (),
) -> Ranked:
    """Apply ``stages`` in order, each to the rows that the one before kept, and keep the rows that ``budget`` pays for.

    ``pool`` holds the regions not yet labelled; ``score`` (n,) is what an earlier selection said of them. The budget is
    an upper bound: stages may keep fewer, and without one they alone decide. Stage i draws from
    ``default_rng([seed, i])``, so that neither the order of rows and shards nor the other stages' draws matter.

    ``constraints`` are applied greedily: refused rows are skipped, then the stages choose again from the rows still
    allowed, until the budget is filled or nothing is left (and a note says so). BadInput: an empty pool, no stages, NaN
    scores or embedding (naming image and region), or a budget that exceeds what is left (naming both numbers).
    """
    if len(pool) == 0:
        raise BadInput("selection: no unlabelled regions are left; lower budget.rounds or add images")
    if not stages:
        raise BadInput("selection.stages: empty; name at least one stage, for example [{name: top}]")
    _check_finite(pool)
    if budget is not None:
        money.check(pool, budget)
    if constraints:
        return _constrained(pool, stages, budget, seed, score, constraints)
    ranked = _rank(pool, stages, budget, (seed,), score)
    return ranked if budget is None else ranked.first(unit_of(budget).cut(pool, ranked.rows, budget))


def _rank(
    pool: Pool, stages: Sequence[Stage], budget: Budget | None, seeds: tuple[int, ...], score: Float64 | None
) -> Ranked:
    """Return one walk through the stages; stage i draws from ``default_rng([seed, i, *rest])``."""
    rows = np.arange(len(pool), dtype=np.int64)
    scores = np.full(len(pool), np.nan) if score is None else np.asarray(score, np.float64)
    clusters = np.full(len(pool), -1, np.int64)
    made: dict[str, Float64] = {}
    notes = []
    for index, stage in enumerate(stages):
        # Stages expect the canonical order, so the rows that an earlier one kept are sorted again.
        by_row = np.argsort(rows, kind="stable")
        rows, scores, clusters = rows[by_row], scores[by_row], clusters[by_row]
        made = {name: column[by_row] for name, column in made.items()}
        kept = pool.take(rows)
        if made:
            kept = replace(kept, scores={**kept.scores, **made})
        if len(kept) == 0:
            raise BadInput(f"selection stage {stage.name}: the stages before it kept no region; widen them")
        count = len(kept) if budget is None else unit_of(budget).most(kept, budget)
        if len(seeds) > 1:
            count = min(count, len(kept))
        choice = _call(stage, kept, count, np.random.default_rng([seeds[0], index, *seeds[1:]]))
        rows = rows[choice.rows]
        scores = scores[choice.rows] if choice.score is None else choice.score
        clusters = clusters[choice.rows] if choice.cluster is None else choice.cluster
        made = {name: column[choice.rows] for name, column in made.items()} | dict(choice.columns)
        if choice.note:
            notes.append(f"{stage.name}: {choice.note}")
    return Ranked(rows, scores, clusters, tuple(notes))


def _call(stage: Stage, pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    entry = STAGES.entry(stage.name)
    choice = entry.function(pool, STAGES.parameters(stage.name, stage.parameters), count, rng)
    if len(np.unique(choice.rows)) != len(choice.rows):
        raise AssertionError(f"stage {stage.name} chose a region twice")
    return choice


def _constrained(
    pool: Pool,
    stages: Sequence[Stage],
    budget: Budget | None,
    seed: int,
    score: Float64 | None,
    constraints: Sequence[Stage],
) -> Ranked:
    rules: list[Constraint] = [
        CONSTRAINTS.entry(one.name).function(pool, CONSTRAINTS.parameters(one.name, one.parameters))
        for one in constraints
    ]
    parts: list[Ranked] = []
    taken = np.zeros(len(pool), bool)
    left = budget
    while True:
        open_rows = np.flatnonzero(np.logical_and.reduce([~taken, *(rule.open() for rule in rules)]))
        if len(open_rows) == 0:
            break
        seeds = (seed,) if not parts else (seed, len(parts))
        try:
            ranked = _rank(pool.take(open_rows), stages, left, seeds, None if score is None else score[open_rows])
        except BadInput:
            if not parts:
                raise
            break  # too few are left for what the stages ask for
        part = _allowed(replace(ranked, rows=open_rows[ranked.rows]), rules)
        if len(part.rows) == 0:
            break
        parts.append(part)
        taken[part.rows] = True
        if budget is None:
            break
        left = budget.less(unit_of(budget).spent(pool, np.flatnonzero(taken), budget))
        if left.amount <= 0:
            break
    whole = _joined(parts)
    if budget is not None:
        whole = whole.first(unit_of(budget).cut(pool, whole.rows, budget))
        if left is not None and left.amount > 0:
            # Where prices come with the answers, these regions may be enough.
            less = "" if unit_of(budget).known else "may be "
            names = ", ".join(one.name for one in constraints)
            found = f"{names}: {len(whole.rows)} regions, {less}less than the budget of"
            note = f"{found} {budget.amount:.15g} {budget.unit}; nothing else is allowed"
            whole = replace(whole, notes=(*whole.notes, note))
    return whole


def _allowed(ranked: Ranked, rules: Sequence[Constraint]) -> Ranked:
    """Keep the rows that the rules allow, in rank order; each row that passes counts for those after it."""
    keep = np.zeros(len(ranked.rows), bool)
    for at, row in enumerate(ranked.rows.tolist()):
        if all(rule.allows(row) for rule in rules):
            keep[at] = True
            for rule in rules:
                rule.accept(row)
    return replace(ranked, rows=ranked.rows[keep], score=ranked.score[keep], cluster=ranked.cluster[keep])


def _joined(parts: Sequence[Ranked]) -> Ranked:
    if not parts:
        return Ranked(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    return Ranked(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.cluster for part in parts]),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
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
    if pool.labelled is not None and not np.isfinite(pool.labelled).all():
        raise BadInput("the embedding of a labelled region is not finite; check the weights")
