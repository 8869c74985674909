"""Which regions to ask about: pixel scores, their aggregation, embedding spaces and selection strategies.

Five axes, each a registry; adding a value is one module in the package of its axis.
"""

from __future__ import annotations

from tessera.acquisition.interfaces import AggregationFactory, FeatureFunction, ProjectionFactory, ScoreFactory
from tessera.acquisition.selection.pool import StageFunction
from tessera.registry import Registry

SCORES: Registry[ScoreFactory] = Registry("score", "tessera.acquisition.scores")
"""What a pixel (or a whole region) is worth asking about. Trait ``needs_model``: bool."""

AGGREGATIONS: Registry[AggregationFactory] = Registry("score.aggregate", "tessera.acquisition.aggregations")
"""How the pixel scores of a region become one number."""

FEATURES: Registry[FeatureFunction] = Registry("selection.embedding.features", "tessera.acquisition.features")
"""Feature vector of a region. Trait ``needs_maps``: a function of the parameters."""

PROJECTIONS: Registry[ProjectionFactory] = Registry("selection.embedding.projection", "tessera.acquisition.projections")
"""From features to the space in which diversity is measured."""

STAGES: Registry[StageFunction] = Registry("selection.stages", "tessera.acquisition.stages")
"""Steps of a selection, each of which narrows or orders the pool."""

__all__ = ["AGGREGATIONS", "FEATURES", "PROJECTIONS", "SCORES", "STAGES"]
