"""Units a labelling budget is counted in, and what is left of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tessera.pb.oracle_pb2 import Cost


@dataclass(frozen=True)
class Pool:
    """Size of the training pool."""

    regions: int
    images: int
    pixels: int


@dataclass(frozen=True)
class Unit:
    """One unit: how large the pool is in it and how much of it some answers took."""

    name: str
    total: Callable[[Pool], float]
    spent: Callable[[Cost], float]


UNITS: dict[str, Unit] = {
    "regions": Unit("regions", lambda pool: pool.regions, lambda cost: cost.regions),
    "images": Unit("images", lambda pool: pool.images, lambda cost: cost.images),
    "pixels": Unit("pixels", lambda pool: pool.pixels, lambda cost: cost.pixels),
}


def remaining(unit: str, pool: Pool, costs: list[Cost]) -> float:
    """Return how much of the pool, in ``unit``, nobody has labelled yet (never below zero)."""
    kind = UNITS[unit]
    return max(0.0, float(kind.total(pool)) - sum(float(kind.spent(cost)) for cost in costs))
