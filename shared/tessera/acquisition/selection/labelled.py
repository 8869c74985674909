"""The embedding of the labelled regions, from which some stages measure distances."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.selection.pool import Float64, Pool
from tessera.errors import BadInput


def labelled_points(pool: Pool, stage: str) -> Float64:
    """Return the embedding (m, d) of the labelled regions, (0, d) when there are none; BadInput when it is missing."""
    if pool.embedding is None:
        raise BadInput(f"selection stage {stage}: there is no embedding; add selection.embedding to the recipe")
    if pool.labelled is not None:
        return pool.labelled
    if len(pool.labelled_images):
        raise BadInput(
            f"selection stage {stage}: measures distances to labelled regions, and the embedding does not hold all of "
            "them; featurize the earlier selections as well"
        )
    return np.zeros((0, pool.embedding.shape[1]))
