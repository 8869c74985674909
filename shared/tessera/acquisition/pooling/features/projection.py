"""Mean of a projection head's pixel vectors over a region, the superpixel-contrastive paper's region feature."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import FeatureModel, Float32, RegionImage
from tessera.acquisition.traits import FeatureTraits
from tessera.registry import Params


class ProjectionParams(Params):
    """``renormalise`` scales every pixel's vector to length 1 again after upsampling (between cells it is shorter).

    ``untrained`` states that the recipe means a head with random weights, which no loss of its training method reaches.
    Without it such a recipe is refused.
    """

    renormalise: bool = False
    untrained: bool = False


@FEATURES.register(
    "projection",
    ProjectionParams,
    FeatureTraits(
        needs_offers=lambda params: frozenset({"projection_head"}),
        needs_trained_projection=lambda params: not params.untrained,
        bank=lambda params: "projection",
    ),
)
def projection(model: FeatureModel, image: RegionImage, params: ProjectionParams) -> Float32:
    """Mean over each region of the head's vectors, of length 1 at each cell and upsampled bilinearly: (n, D) float32.

    Superpixel-contrastive paper, §3.3 (mean of the pixels' vectors; the mean itself is not normalised). BadInput as in
    `region_map_of`, and for a model without ``projection_head``.
    """
    from tessera.acquisition.pooling.region_maps import region_map_of
    from tessera.acquisition.pooling.region_means import region_means
    from tessera.acquisition.pooling.weighted_means import scales, weighted_means

    labels = region_map_of(image, "projection")
    features = model.taps(image.rgb, ("projection",))["projection"]
    if not params.renormalise:
        return region_means(features, labels, image.region_ids)
    factors = scales(features, (labels.shape[0], labels.shape[1]))

    def strips() -> Iterator[tuple[int, Float32]]:
        yield 0, factors[None]

    return weighted_means(features, labels, image.region_ids, strips, 1)[:, 0]
