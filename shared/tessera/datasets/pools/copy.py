"""copy: the whole data set in the native layout, so that ``--data`` needs no settings of the original layout."""

from __future__ import annotations

from tessera.datasets.pools import POOLS, PoolImage, kept, others
from tessera.datasets.samples import Source
from tessera.registry import Params


@POOLS.register("copy", Params)
def choose(source: Source, params: Params, seed: int) -> tuple[PoolImage, ...]:
    """Take every image and label map."""
    return (*kept(source.splits.get("train", ())), *others(source))
