"""Units of labelling: one table for budgets, prices of answers, learning curves and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from tessera.errors import BadInput, nearest
from tessera.pb.oracle_pb2 import Cost


@dataclass(frozen=True)
class PoolSize:
    """Size of the training pool."""

    regions: int
    images: int
    pixels: int


class Priced(Protocol):
    """Price of one answer."""

    @property
    def clicks(self) -> int:
        """Clicks, those on the undefined class included."""

    @property
    def seconds(self) -> float:
        """Modelled labelling time in seconds."""

    @property
    def pixels(self) -> int:
        """Pixels that the answer labels."""


@dataclass(frozen=True)
class Unit:
    """One unit: what answers cost in it, how large the pool is, and where a summary tells it."""

    name: str
    title: str
    """The name that axes and sentences use."""
    column: str
    """Its total so far in a round of ``summary.json``."""
    form: Literal["count", "share", "seconds"]
    """How the values of ``column`` are written."""
    spent: Callable[[Cost, PoolSize], float]
    """Amount that the answers behind a cost took."""
    total: Callable[[PoolSize], float] | None = None
    """Amount of the whole pool; None: known only after asking."""
    price: Callable[[Priced], float] | None = None
    """Price of one answer, for units whose price comes with the answer."""
    whole: bool = True
    """Whether amounts are counts."""
    carries: bool = True
    """Whether a round takes over what the rounds before it left or overspent."""
    budget: bool = True
    """Whether a recipe's budget can be counted in it."""
    measured: Callable[[Cost], float] | None = None
    """Amount as measured while people answered, for units that a model estimates; 0 where nobody measured."""

    def paid(self, cost: Cost, pool: PoolSize) -> float:
        """Return what answers cost a budget: as measured where it was, else by the model."""
        return (self.measured(cost) if self.measured is not None else 0.0) or float(self.spent(cost, pool))


_TABLE = (
    Unit(
        "percent",
        "share of the pool labelled",
        "regions_fraction",
        "share",
        lambda cost, pool: 100 * cost.regions / pool.regions,
        total=lambda pool: 100,
        whole=False,
    ),
    # A round's amount in regions and images is always met exactly, or the stages meant to keep fewer.
    Unit(
        "regions",
        "regions labelled",
        "regions_labelled",
        "count",
        lambda cost, pool: cost.regions,
        total=lambda pool: pool.regions,
        carries=False,
    ),
    Unit(
        "images",
        "images touched",
        "images_touched",
        "count",
        lambda cost, pool: cost.images,
        total=lambda pool: pool.images,
        carries=False,
    ),
    Unit(
        "pixels",
        "pixels labelled",
        "pixels_labelled",
        "count",
        lambda cost, pool: cost.pixels,
        total=lambda pool: pool.pixels,
        price=lambda answer: answer.pixels,
    ),
    Unit(
        "clicks",
        "clicks",
        "clicks",
        "count",
        lambda cost, pool: cost.clicks,
        price=lambda answer: answer.clicks,
        measured=lambda cost: cost.measured_clicks,
    ),
    Unit(
        "clicks_without_undefined",
        "clicks except those on undefined",
        "clicks_without_undefined",
        "count",
        lambda cost, pool: cost.clicks_without_undefined,
        budget=False,
    ),
    Unit(
        "seconds",
        "labelling time (model)",
        "labelling_seconds",
        "seconds",
        lambda cost, pool: cost.labelling_seconds,
        price=lambda answer: answer.seconds,
        whole=False,
        measured=lambda cost: cost.measured_seconds,
    ),
    Unit(
        "measured_clicks",
        "clicks (measured)",
        "measured_clicks",
        "count",
        lambda cost, pool: cost.measured_clicks,
        budget=False,
    ),
    Unit(
        "measured_seconds",
        "labelling time (measured)",
        "measured_seconds",
        "seconds",
        lambda cost, pool: cost.measured_seconds,
        whole=False,
        budget=False,
    ),
)

UNITS = {unit.name: unit for unit in _TABLE}
"""Name → unit. ``percent`` is of the pool's regions; ``clicks`` include those on the undefined class; ``seconds`` are
modelled. A budget in ``pixels`` counts a region's own pixels, unless the query asks about single ones. Where people
answer, budgets in clicks and seconds count what was measured."""

BUDGETS = tuple(unit.name for unit in _TABLE if unit.budget)
"""Units that a recipe's budget can be counted in."""


def unit(name: str, where: str) -> Unit:
    """Find a unit by name; BadInput, naming the field ``where``, with the nearest known ones."""
    if name not in UNITS:
        raise BadInput(f"{where}: unknown unit {name!r}; {nearest(name, UNITS)}")
    return UNITS[name]
