"""Which regions to ask about: pixel scores, their aggregation, embedding spaces and selection strategies.

Six axes, each a registry; adding a value is one module in the package of its axis. ``acquisition/traits.py`` lists
the traits of each axis.
"""

from __future__ import annotations

from tessera.acquisition.interfaces import AggregationFactory, FeatureFunction, ProjectionFactory, ScoreFactory
from tessera.acquisition.selection.pool import ConstraintFunction, StageFunction
from tessera.acquisition.traits import AggregationTraits, ConstraintTraits, FeatureTraits, ScoreTraits, StageTraits
from tessera.registry import NoTraits, Registry

SCORES: Registry[ScoreFactory, ScoreTraits] = Registry("score", "tessera.acquisition.scoring.scores", ScoreTraits)
"""Scores of a pixel or of a whole region: how much it is worth asking about."""

AGGREGATIONS: Registry[AggregationFactory, AggregationTraits] = Registry(
    "score.aggregate", "tessera.acquisition.scoring.aggregations", AggregationTraits
)
"""How the pixel scores of a region become one number."""

FEATURES: Registry[FeatureFunction, FeatureTraits] = Registry(
    "selection.embedding.features", "tessera.acquisition.pooling.features", FeatureTraits
)
"""Feature vector of a region."""

PROJECTIONS: Registry[ProjectionFactory, NoTraits] = Registry(
    "selection.embedding.projection", "tessera.acquisition.projections", NoTraits
)
"""From features to the space in which diversity is measured."""

STAGES: Registry[StageFunction, StageTraits] = Registry(
    "selection.stages", "tessera.acquisition.selection.stages", StageTraits
)
"""Steps of a selection, each of which narrows or orders the pool."""

CONSTRAINTS: Registry[ConstraintFunction, ConstraintTraits] = Registry(
    "selection.constraints", "tessera.acquisition.selection.constraints", ConstraintTraits
)
"""What holds between the regions chosen in a round, whatever the stages."""

__all__ = ["AGGREGATIONS", "CONSTRAINTS", "FEATURES", "PROJECTIONS", "SCORES", "STAGES"]
