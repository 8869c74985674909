"""Budgets of a run: how much is left of the pool, and how much each round may take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tessera.loop import axes
from tessera.loop.recipe import Recipe
from tessera.pb.oracle_pb2 import Cost
from tessera.pb.selector_pb2 import Budget
from tessera.queries import FORMATS
from tessera.units import UNITS, PoolSize


def remaining(unit: str, pool: PoolSize, costs: list[Cost]) -> float:
    """Return how much of the pool, in ``unit``, is unlabelled (never below zero).

    Infinite where prices come with the answers and any region is left.
    """
    kind = UNITS[unit]
    if kind.total is None:
        return math.inf if remaining("regions", pool, costs) else 0.0
    if unit == "percent":
        # By counts: shares of many rounds need not add up to 100 exactly.
        return 100 * remaining("regions", pool, costs) / pool.regions
    return max(0.0, float(kind.total(pool)) - sum(float(kind.spent(cost, pool)) for cost in costs))


def asked_until_spent(recipe: Recipe) -> bool:
    """Return whether prices come with the answers (clicks, seconds, single pixels), and the oracle ends the round."""
    if recipe.budget.unit == "pixels":
        return FORMATS.entry(recipe.query.name).traits.counts_pixels
    return UNITS[recipe.budget.unit].total is None


def allowance(
    recipe: Recipe, pool: PoolSize, round_: int, costs: Sequence[Cost], free: Sequence[Cost] = ()
) -> Budget | None:
    """Return what a round may take; ``costs`` are those of all earlier rounds. None: the initial stages decide.

    ``free``: what labels that came with images took of the pool; no budget pays for them.

    Units that can be overspent are planned cumulatively: round r may take ``per_round`` × r (and ``initial``) less the
    amount spent so far. So rest and overshoot are carried over to the next round, and a run overshoots by at most one
    answer in all. A round always asks at least one question.
    """
    budget, kind = recipe.budget, UNITS[recipe.budget.unit]
    if round_ == 0 and budget.initial is None:
        return None
    left = remaining(budget.unit, pool, [*costs, *free])
    amount = budget.per_round if round_ else budget.initial or 0.0
    if kind.carries:
        first = 0 if budget.initial is not None else 1
        planned = (budget.initial or 0.0) + budget.per_round * round_
        if budget.unit == "percent":
            # Counted in regions, where it can be met exactly.
            regions = math.floor(pool.regions * planned / 100 + 1e-9) - sum(cost.regions for cost in costs[first:])
            most = remaining("regions", pool, [*costs, *free])
            return Budget(unit="regions", amount=min(max(1, regions), most))
        amount = planned - sum(kind.paid(cost, pool) for cost in costs[first:])
    if asked_until_spent(recipe):
        cheapest = _cheapest(recipe)
        return Budget(unit=budget.unit, amount=max(amount, cheapest), cheapest=cheapest)
    return Budget(unit=budget.unit, amount=min(max(amount, 1.0), left))


def offered(allowed: Budget, recipe: Recipe) -> Budget:
    """Return the budget that the selector is given: a ranking long enough for the cheapest answers."""
    if asked_until_spent(recipe) and allowed.unit == "pixels":
        # The selector counts a region's own pixels; a query of single pixels has prices like clicks.
        return Budget(unit="clicks", amount=allowed.amount, cheapest=allowed.cheapest)
    return allowed


def _cheapest(recipe: Recipe) -> float:
    query = recipe.query
    return float(FORMATS.entry(query.name).traits.cheapest(axes.parameters(FORMATS, query))[recipe.budget.unit])
