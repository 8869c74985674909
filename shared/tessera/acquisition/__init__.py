"""Choice of the regions to label: pixel scores, their aggregation, embedding spaces and selection strategies.

Six axes, each a registry; adding a value is one module in the package of its axis. ``acquisition/traits.py`` lists
the traits of each axis.
"""

from __future__ import annotations

from tessera.acquisition.interfaces import AggregationFactory, FeatureFunction, ProjectionFactory, ScoreFactory
from tessera.acquisition.selection.pool import ConstraintFunction, StageFunction
from tessera.acquisition.traits import AggregationTraits, ConstraintTraits, FeatureTraits, ScoreTraits, StageTraits
from tessera.registry import NoTraits, Registry

SCORES: Registry[ScoreFactory, ScoreTraits] = Registry("score", "tessera.acquisition.scoring.scores", ScoreTraits)
"""Scores of a pixel or of a whole region: how informative its label would be."""

AGGREGATIONS: Registry[AggregationFactory, AggregationTraits] = Registry(
    "score.aggregate", "tessera.acquisition.scoring.aggregations", AggregationTraits
)
"""Reductions of a region's pixel scores to one number."""

FEATURES: Registry[FeatureFunction, FeatureTraits] = Registry(
    "selection.embedding.features", "tessera.acquisition.pooling.features", FeatureTraits
)
"""Feature vectors of regions."""

PROJECTIONS: Registry[ProjectionFactory, NoTraits] = Registry(
    "selection.embedding.projection", "tessera.acquisition.projections", NoTraits
)
"""Projections of features into the space in which diversity is measured."""

STAGES: Registry[StageFunction, StageTraits] = Registry(
    "selection.stages", "tessera.acquisition.selection.stages", StageTraits
)
"""Stages of a selection, each of which narrows or orders the pool."""

CONSTRAINTS: Registry[ConstraintFunction, ConstraintTraits] = Registry(
    "selection.constraints", "tessera.acquisition.selection.constraints", ConstraintTraits
)
"""Constraints between the regions of one round, whatever the stages."""

__all__ = ["AGGREGATIONS", "CONSTRAINTS", "FEATURES", "PROJECTIONS", "SCORES", "STAGES"]
