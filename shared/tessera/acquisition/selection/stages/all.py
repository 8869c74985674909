"""All regions: the fully supervised reference."""

from __future__ import annotations

import numpy as np

from tessera.acquisition import STAGES
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.registry import Params


@STAGES.register("all", Params)
def every(pool: Pool, params: Params, count: int, rng: np.random.Generator) -> Choice:
    """Keep every region, by (image_id, region_id)."""
    return Choice(np.arange(len(pool), dtype=np.int64))
