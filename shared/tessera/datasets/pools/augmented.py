"""augmented: Pool-Aug of "Best Practices in Active Learning for Semantic Segmentation" (section 3, figure 2).

Random images, each with duplicates that show 85 % of its area in other colours: redundant without being a video.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.datasets.augment import Change, draw
from tessera.datasets.pools import POOLS, PoolImage, kept, others, train_of
from tessera.datasets.samples import Source
from tessera.errors import BadInput
from tessera.loop.seeds import derive
from tessera.registry import Params


class Augmented(Params):
    """``images`` in the pool's train split, of which 1 in 1 + ``duplicates`` is an original; default: as many as fit.

    ``area`` of the image that a duplicate shows. ``colour`` and ``hue`` bound the change of colours, which the paper
    does not give: brightness, contrast and saturation are scaled by 1 ± colour, the hue turns by ± hue of the circle.
    """

    images: int | None = Field(default=None, ge=1)
    duplicates: int = Field(default=5, ge=1, le=999)
    area: float = Field(default=0.85, gt=0, le=1)
    colour: float = Field(default=0.4, ge=0, lt=1)
    hue: float = Field(default=0.1, ge=0, le=0.5)


@POOLS.register("augmented", Augmented)
def choose(source: Source, params: Augmented, seed: int) -> tuple[PoolImage, ...]:
    """Draw the originals and how each duplicate differs; val and test stay.

    BadInput when ``images`` is not a multiple of 1 + duplicates or needs more originals than there are.
    """
    samples, each = train_of(source), params.duplicates + 1
    images = params.images if params.images is not None else max(len(samples) // each, 1) * each
    if images % each:
        lower = images - images % each
        raise BadInput(
            f"pool augmented: images={images} is not a multiple of 1 + duplicates={params.duplicates}; use "
            f"{lower or each} or {lower + each}"
        )
    if images // each > len(samples):
        raise BadInput(
            f"pool augmented: images={images} needs {images // each} originals, train of {source.name} has "
            f"{len(samples)}; use images={len(samples) * each} or less"
        )
    order = np.random.default_rng(seed).permutation(len(samples))[: images // each]
    originals = kept(samples[at] for at in order.tolist())
    entries = [
        PoolImage(f"{entry.image_id}.aug{number}", "train", entry.sample, _change(params, seed, entry.image_id, number))
        for entry in originals
        for number in range(1, each)
    ]
    return (*originals, *entries, *others(source))


def _change(params: Augmented, seed: int, image_id: str, number: int) -> Change:
    # Seeded by name, so that a duplicate does not depend on the other images in the pool.
    rng = np.random.default_rng(derive(seed, number, f"augmented/{image_id}"))
    return draw(rng, params.area, params.colour, params.hue)
