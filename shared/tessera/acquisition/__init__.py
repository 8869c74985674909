"""Which regions to ask about: pixel scores, their aggregation, embedding spaces and selection strategies.

Six axes, each a registry; adding a value is one module in the package of its axis.
"""

from __future__ import annotations

from tessera.acquisition.interfaces import AggregationFactory, FeatureFunction, ProjectionFactory, ScoreFactory
from tessera.acquisition.selection.pool import ConstraintFunction, StageFunction
from tessera.registry import Registry

SCORES: Registry[ScoreFactory] = Registry("score", "tessera.acquisition.scoring.scores")
"""What a pixel (or a whole region) is worth asking about.

Traits: ``needs_model``: bool; ``passes``, a function of the parameters: the further forward passes it reads;
``needs_auxiliary``: name of the network that is trained before scoring; ``low_is_worth_asking``: bool.
"""

AGGREGATIONS: Registry[AggregationFactory] = Registry("score.aggregate", "tessera.acquisition.scoring.aggregations")
"""How the pixel scores of a region become one number."""

FEATURES: Registry[FeatureFunction] = Registry("selection.embedding.features", "tessera.acquisition.pooling.features")
"""Feature vector of a region. Traits: ``needs_maps``, a function of the parameters; ``needs_head``: whether it takes a
trained network, not a backbone alone; ``bank``, a function of the parameters: the map whose pixels a memory bank must
hold to lie in the same space, or None."""

PROJECTIONS: Registry[ProjectionFactory] = Registry("selection.embedding.projection", "tessera.acquisition.projections")
"""From features to the space in which diversity is measured."""

STAGES: Registry[StageFunction] = Registry("selection.stages", "tessera.acquisition.selection.stages")
"""Steps of a selection, each of which narrows or orders the pool.

Traits, each a bool: ``needs_embedding``, ``needs_scores``, ``needs_labelled_embedding`` (distances to labelled regions)
and ``needs_times`` (sequences). Trait ``columns``: the parameters that name a score column beside ``by``. Functions of
the parameters: ``needs_columns``, (column, (score, aggregate)) that must be asked for; ``makes_columns``, names of new
ones for later stages; ``needs_everything``, whether labelled regions' scores are read too (``Pool.everything``).
"""

CONSTRAINTS: Registry[ConstraintFunction] = Registry(
    "selection.constraints", "tessera.acquisition.selection.constraints"
)
"""What holds between the regions chosen in a round, whatever the stages. Trait ``needs_times``: bool."""

__all__ = ["AGGREGATIONS", "CONSTRAINTS", "FEATURES", "PROJECTIONS", "SCORES", "STAGES"]
