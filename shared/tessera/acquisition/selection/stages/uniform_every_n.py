"""Every n-th frame of each sequence; later stages choose among those."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection import timeline
from tessera.acquisition.selection.pool import Choice, Pool
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from tessera.registry import Params


class UniformEveryNParams(Params):
    """Keep frames ``offset``, ``offset`` + n, … of each sequence, counted from 0 in the order of time."""

    n: int = Field(default=5, ge=1)
    offset: int = Field(default=0, ge=0)


@STAGES.register("uniform_every_n", UniformEveryNParams, StageTraits(needs_times=True))
def uniform_every_n(pool: Pool, params: UniformEveryNParams, count: int, rng: np.random.Generator) -> Choice:
    """Keep all regions of every n-th image (Best Practices, §4.4, Table 5: "Uniform (@5) + Entropy" is n = 5, ``top``).

    Frames are counted over the whole pool, labelled images too, so that the frames are the same in every round. Stills
    count as one sequence in the order of their names. BadInput when none of these frames has an unlabelled region.
    """
    images = timeline.order(pool, "uniform_every_n")
    keep = np.zeros(len(pool.image_names), bool)
    keep[images[(timeline.position(pool, images) - params.offset) % params.n == 0]] = True
    if params.offset >= params.n:
        raise BadInput(f"selection stage uniform_every_n: offset {params.offset} is not below n {params.n}; lower it")
    rows = np.flatnonzero(keep[pool.image]).astype(np.int64)
    if len(rows) == 0:
        raise BadInput(f"selection stage uniform_every_n: every {params.n}th frame is labelled; lower n")
    return Choice(rows)
