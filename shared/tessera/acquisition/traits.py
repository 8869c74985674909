"""Traits of the values of the acquisition axes: one frozen dataclass per registry.

A trait that depends on a value's parameters is a function of them. Planner and recipe rules read nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.acquisition.interfaces import PassSet
from tessera.models import Offer


def _no_passes(params: Any) -> PassSet | None:
    return None


def _always(params: Any) -> bool:
    return True


def _never(params: Any) -> bool:
    return False


def _no_bank(params: Any) -> str | None:
    return None


def _no_offers(params: Any) -> frozenset[Offer]:
    return frozenset()


def _no_class(params: Any) -> int | None:
    return None


def _no_columns_needed(params: Any) -> Sequence[tuple[str, tuple[str, str]]]:
    return ()


def _no_columns_made(params: Any) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class ScoreTraits:
    """Traits of a score."""

    needs_model: bool = True
    """It reads the segmentation network."""
    per_class: bool = False
    """It has one value per class."""
    passes: Callable[[Any], PassSet | None] = _no_passes
    """Forward passes it reads beside the plain one."""
    needs_auxiliary: str = ""
    """Name of the auxiliary network that is trained before scoring; empty: none."""
    low_is_worth_asking: bool = False
    """Regions with low values are the informative ones."""
    aggregates: tuple[str, ...] = ()
    """The only aggregations it can be combined with; empty: all."""
    why: str = ""
    """Why ``aggregates`` is limited: completes "score NAME …"."""


@dataclass(frozen=True)
class AggregationTraits:
    """Traits of an aggregation."""

    per_class: bool = False
    """Its result has one value per class."""
    by_class: bool = False
    """It groups pixels by predicted class, so it takes scores with one value per pixel only."""
    keeps_pixels: bool = False
    """It keeps the value of every pixel until the end."""


@dataclass(frozen=True)
class FeatureTraits:
    """Traits of a region feature."""

    needs_maps: Callable[[Any], bool] = _always
    """It reads region maps; boxes alone are not enough."""
    needs_head: bool = True
    """It reads a trained network; a backbone alone is not enough."""
    needs_offers: Callable[[Any], frozenset[Offer]] = _no_offers
    """Optional parts that the network must have."""
    needs_trained_projection: Callable[[Any], bool] = _never
    """It is meaningful only where the training method trains the projection head."""
    bank: Callable[[Any], str | None] = _no_bank
    """The map whose pixels a memory bank must hold to be in the same space; None: no bank is."""


@dataclass(frozen=True)
class StageTraits:
    """Traits of a selection stage."""

    needs_embedding: bool = False
    """It measures distances between candidates."""
    needs_labelled_embedding: bool = False
    """It measures distances to labelled regions."""
    needs_scores: bool = False
    """It reads score columns."""
    needs_times: bool = False
    """It reads sequences and times."""
    needs_everything: Callable[[Any], bool] = _never
    """It reads the scores of labelled regions too (``Pool.everything``)."""
    columns: tuple[str, ...] = ()
    """Parameters that name a score column, beside ``by``."""
    needs_columns: Callable[[Any], Sequence[tuple[str, tuple[str, str]]]] = _no_columns_needed
    """(column, (score, aggregation)) of each column that the recipe must ask for."""
    undefined: Callable[[Any], int | None] = _no_class
    """function(params) → its index of the class undefined, which only some training methods train; None: none."""
    makes_columns: Callable[[Any], Sequence[str]] = _no_columns_made
    """Columns that later stages may read."""


@dataclass(frozen=True)
class ConstraintTraits:
    """Traits of a constraint on the regions of one round."""

    needs_times: bool = False
    """It reads sequences and times."""
