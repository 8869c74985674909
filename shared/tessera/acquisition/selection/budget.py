"""How far a ranking a budget reaches, in each unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tessera.acquisition.selection.pool import Int64, Pool
from tessera.errors import BadInput


@dataclass(frozen=True)
class Budget:
    """An amount in a unit of ``UNITS``."""

    unit: str
    amount: float


@dataclass(frozen=True)
class Unit:
    """What a unit can say about a pool and a ranking of it."""

    # Amount that the whole pool costs.
    available: Callable[[Pool], float]
    # Most regions the amount can pay for.
    most: Callable[[Pool, float], int]
    # How many of the ranked rows are paid for.
    cut: Callable[[Pool, Int64, float], int]


def _images_most(pool: Pool, amount: float) -> int:
    # The fullest images.
    counts = np.sort(np.unique(pool.image, return_counts=True)[1])[::-1]
    return int(counts[: int(amount)].sum())


def _images_cut(pool: Pool, rows: Int64, amount: float) -> int:
    # Regions of an image already touched cost nothing more; stop at the first that opens one image too many.
    image = pool.image[rows]
    _, first = np.unique(image, return_index=True)
    opens = np.zeros(len(rows), np.int64)
    opens[first] = 1
    return int(np.searchsorted(np.cumsum(opens), int(amount), side="right"))


def _pixels_cut(pool: Pool, rows: Int64, amount: float) -> int:
    # Until the budget is spent: overshoots by at most one region.
    spent = np.cumsum(pool.pixels[rows])
    return min(len(rows), int(np.searchsorted(spent, amount, side="left")) + 1)


UNITS: dict[str, Unit] = {
    "regions": Unit(
        lambda pool: float(len(pool)),
        lambda pool, amount: int(amount),
        lambda pool, rows, amount: min(len(rows), int(amount)),
    ),
    "images": Unit(
        lambda pool: float(len(np.unique(pool.image))),
        _images_most,
        _images_cut,
    ),
    "pixels": Unit(
        lambda pool: float(pool.pixels.sum()),
        lambda pool, amount: min(len(pool), int(np.ceil(amount / max(1, int(pool.pixels.min()))))),
        _pixels_cut,
    ),
}


def unit_of(budget: Budget) -> Unit:
    """The budget's unit; BadInput for an unknown one or an amount that is not positive (or whole, for counts)."""
    if budget.unit not in UNITS:
        raise BadInput(f"budget.unit: unknown unit {budget.unit!r}; known: {', '.join(sorted(UNITS))}")
    whole = budget.unit in ("regions", "images")
    if not np.isfinite(budget.amount) or budget.amount <= 0 or (whole and budget.amount != int(budget.amount)):
        kind = "a positive whole number" if whole else "a positive number"
        raise BadInput(f"budget: {budget.amount:.15g} {budget.unit} cannot be asked for; give {kind}")
    return UNITS[budget.unit]
