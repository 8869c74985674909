"""How far a ranking a budget reaches, in each unit."""

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
    """Rules of one unit for a pool and a ranking of it."""

    # Amount that the whole pool costs; None where nobody knows before the answers.
    available: Callable[[Pool], float] | None
    # Most regions the budget can pay for.
    most: Callable[[Pool, Budget], int]
    # How many of the ranked rows are paid for.
    cut: Callable[[Pool, Int64, Budget], int]
    # What these rows cost at least.
    spent: Callable[[Pool, Int64, Budget], float]
    # Whether amounts are counts.
    whole: bool = False


def _images_most(pool: Pool, budget: Budget) -> int:
    # The fullest images.
    counts = np.sort(np.unique(pool.image, return_counts=True)[1])[::-1]
    return int(counts[: int(budget.amount)].sum())


def _images_cut(pool: Pool, rows: Int64, budget: Budget) -> int:
    # Regions of an image already touched cost nothing more; stop at the first that opens one image too many.
    image = pool.image[rows]
    _, first = np.unique(image, return_index=True)
    opens = np.zeros(len(rows), np.int64)
    opens[first] = 1
    return int(np.searchsorted(np.cumsum(opens), int(budget.amount), side="right"))


def _pixels_cut(pool: Pool, rows: Int64, budget: Budget) -> int:
    # Until the budget is spent: overshoots by at most one region.
    spent = np.cumsum(pool.pixels[rows])
    return min(len(rows), int(np.searchsorted(spent, budget.amount, side="left")) + 1)


def _priced(pool: Pool, budget: Budget) -> int:
    return min(len(pool), int(np.ceil(budget.amount / budget.cheapest)))


# Prices come with the answers: the ranking is as long as the cheapest answers could need, and the oracle stops after
# the one that reaches the amount.
_ASKED = BudgetUnit(
    None,
    _priced,
    lambda pool, rows, budget: min(len(rows), int(np.ceil(budget.amount / budget.cheapest))),
    lambda pool, rows, budget: len(rows) * budget.cheapest,
)

UNITS: dict[str, BudgetUnit] = {
    "regions": BudgetUnit(
        lambda pool: float(len(pool)),
        lambda pool, budget: int(budget.amount),
        lambda pool, rows, budget: min(len(rows), int(budget.amount)),
        lambda pool, rows, budget: float(len(rows)),
        whole=True,
    ),
    "images": BudgetUnit(
        lambda pool: float(len(np.unique(pool.image))),
        _images_most,
        _images_cut,
        lambda pool, rows, budget: float(len(np.unique(pool.image[rows]))),
        whole=True,
    ),
    "pixels": BudgetUnit(
        lambda pool: float(pool.pixels.sum()),
        lambda pool, budget: min(len(pool), int(np.ceil(budget.amount / max(1, int(pool.pixels.min()))))),
        _pixels_cut,
        lambda pool, rows, budget: float(pool.pixels[rows].sum()),
    ),
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
    """BadInput, naming both numbers, when the budget exceeds what is left."""
    available = unit_of(budget).available
    if available is not None and budget.amount > available(pool):
        raise BadInput(
            f"budget: {budget.amount:.15g} {budget.unit} are asked for and {available(pool):.15g} unlabelled "
            f"{budget.unit} are left; lower budget.per_round or budget.rounds"
        )
