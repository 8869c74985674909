"""Uniform noise: the random arm of every comparison."""

from __future__ import annotations

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Score
from tessera.acquisition.scoring.region_draws import region_uniform
from tessera.acquisition.traits import ScoreTraits
from tessera.registry import Params


@SCORES.register("random", Params, ScoreTraits(needs_model=False, aggregates=("mean",), why="is drawn once per region"))
def random(params: Params) -> Score:
    """Uniform in [0, 1), a function of (seed, image, region) alone, whatever the sharding."""
    return Score(region=region_uniform)
