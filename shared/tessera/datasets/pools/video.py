"""video: a validation video among random training images, half and half: the most redundant kind of pool.

On CamVid: the 101 frames of val (15 Hz, under 7 seconds) and 101 of the 367 training frames (1 Hz). As val
is inside the pool, it cannot measure; evaluate on test only.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.datasets.pools import POOLS, PoolImage, PoolTraits, kept, train_of
from tessera.datasets.samples import Source
from tessera.errors import BadInput
from tessera.registry import Params


class Video(Params):
    """``split`` whose frames all go into the pool, and how many ``random`` training images join; default: as many."""

    split: str = "val"
    random: int | None = Field(default=None, ge=0)


@POOLS.register("video", Video, PoolTraits(evaluate=("test",)))
def choose(source: Source, params: Video, seed: int) -> tuple[PoolImage, ...]:
    """Join the frames of the split and random training images to the pool's train split; only test stays beside it.

    BadInput when the split has no videos or is train or test, there is no test split, or train has too few images.
    """
    frames, samples = source.splits.get(params.split, ()), train_of(source)
    if params.split in ("train", "test") or not any(sample.sequence for sample in frames):
        raise BadInput(
            f"pool video: split {params.split!r} of {source.name} has {len(frames)} images and "
            f"{len({s.sequence for s in frames if s.sequence})} videos; name a split of video frames besides train "
            "and test"
        )
    if not source.splits.get("test"):
        raise BadInput(
            f"pool video: {source.name} has no test split, and val goes into the pool: nothing is left to measure on; "
            "add a test split"
        )
    count = params.random if params.random is not None else len(frames)
    if count > len(samples):
        raise BadInput(
            f"pool video: random={count}, but train of {source.name} has {len(samples)} images; use --set "
            f"random={len(samples)} or less"
        )
    order = np.random.default_rng(seed).permutation(len(samples))[:count]
    drawn = (samples[at] for at in order.tolist())
    return (*kept([*frames, *drawn], "train"), *kept(source.splits["test"]))
