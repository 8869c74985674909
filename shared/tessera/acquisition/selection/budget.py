"""How many regions of a ranking a budget pays for, in each unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tessera.acquisition.selection.pool import Int64, Pool
from tessera.errors import BadInput


@dataclass(frozen=True)
class Budget:
    """An amount in a unit of ``UNITS``; ``cheapest`` is the least an answer can cost where the price is not known."""

    unit: str
    amount: float
    cheapest: float = 1.0

    def less(self, spent: float) -> Budget:
        """Return the rest of the budget after ``spent``."""
        return Budget(self.unit, self.amount - spent, self.cheapest)


@dataclass(frozen=True)
class BudgetUnit:
    """Rules of one unit for a pool and rows of it, such as a ranking."""

    spent: Callable[[Pool, Int64, Budget], float]
    """Cost of these rows; a lower bound where prices come with the answers."""
    cut: Callable[[Pool, Int64, Budget], int]
    """Number of the ranked rows, from the first, that the budget pays for."""
    most: Callable[[Pool, Budget], int]
    """Most regions of the pool that the budget can pay for, however they are ranked."""
    known: bool = True
    """Whether prices are known before the answers."""
    whole: bool = False
    """Whether amounts are counts."""


def _regions_cut(pool: Pool, rows: Int64, budget: Budget) -> int:
    return min(len(rows), int(budget.amount))


def _images_spent(pool: Pool, rows: Int64, budget: Budget) -> float:
    return float(len(np.unique(pool.image[rows])))


def _images_cut(pool: Pool, rows: Int64, budget: Budget) -> int:
    # More regions of a touched image cost nothing; the ranking ends before the first that opens one image too many.
    _, first = np.unique(pool.image[rows], return_index=True)
    opens = np.zeros(len(rows), np.int64)
    opens[first] = 1
    return int(np.searchsorted(np.cumsum(opens), int(budget.amount), side="right"))


def _images_most(pool: Pool, budget: Budget) -> int:
    # Those of the images with the most regions.
    counts = np.sort(np.unique(pool.image, return_counts=True)[1])[::-1]
    return int(counts[: int(budget.amount)].sum())


def _pixels_spent(pool: Pool, rows: Int64, budget: Budget) -> float:
    return float(pool.pixels[rows].sum())


def _pixels_cut(pool: Pool, rows: Int64, budget: Budget) -> int:
    # Up to the region that reaches the amount: overshoots by at most one region.
    spent = np.cumsum(pool.pixels[rows])
    return min(len(rows), int(np.searchsorted(spent, budget.amount, side="left")) + 1)


def _pixels_most(pool: Pool, budget: Budget) -> int:
    return min(len(pool), int(np.ceil(budget.amount / max(1, int(pool.pixels.min())))))


# Prices come with the answers: the ranking is as long as the cheapest answers would need, and the oracle stops after
# the answer that reaches the amount.
_ASKED = BudgetUnit(
    lambda pool, rows, budget: len(rows) * budget.cheapest,
    lambda pool, rows, budget: min(len(rows), int(np.ceil(budget.amount / budget.cheapest))),
    lambda pool, budget: min(len(pool), int(np.ceil(budget.amount / budget.cheapest))),
    known=False,
)

UNITS: dict[str, BudgetUnit] = {
    "regions": BudgetUnit(
        lambda pool, rows, budget: float(len(rows)), _regions_cut, lambda pool, budget: int(budget.amount), whole=True
    ),
    "images": BudgetUnit(_images_spent, _images_cut, _images_most, whole=True),
    "pixels": BudgetUnit(_pixels_spent, _pixels_cut, _pixels_most),
    "clicks": _ASKED,
    "seconds": _ASKED,
}


def unit_of(budget: Budget) -> BudgetUnit:
    """Return the budget's unit; BadInput if it is unknown or its amount not positive (and whole, for counts)."""
    if budget.unit not in UNITS:
        raise BadInput(f"budget.unit: unknown unit {budget.unit!r}; known: {', '.join(sorted(UNITS))}")
    unit = UNITS[budget.unit]
    if not np.isfinite(budget.amount) or budget.amount <= 0 or (unit.whole and budget.amount != int(budget.amount)):
        kind = "a positive whole number" if unit.whole else "a positive number"
        raise BadInput(f"budget: {budget.amount:.15g} {budget.unit} cannot be asked for; give {kind}")
    if not np.isfinite(budget.cheapest) or budget.cheapest <= 0:
        raise BadInput(
            f"budget: the cheapest answer costs {budget.cheapest:.15g} {budget.unit}; it must cost something"
        )
    return unit


def check(pool: Pool, budget: Budget) -> None:
    """Raise BadInput, naming both numbers, when the budget exceeds what the pool costs."""
    unit = unit_of(budget)
    if not unit.known:
        return
    available = unit.spent(pool, np.arange(len(pool)), budget)
    if budget.amount > available:
        raise BadInput(
            f"budget: {budget.amount:.15g} {budget.unit} are asked for and {available:.15g} unlabelled "
            f"{budget.unit} are left; lower budget.per_round or budget.rounds"
        )
