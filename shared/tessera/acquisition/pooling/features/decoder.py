"""Mean of the classifier's input over a region."""

from __future__ import annotations

from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import FeatureModel, Float32, RegionImage
from tessera.acquisition.traits import FeatureTraits
from tessera.registry import Params


@FEATURES.register("decoder", Params, FeatureTraits(bank=lambda params: "decoder"))
def decoder(model: FeatureModel, image: RegionImage, params: Params) -> Float32:
    """Mean of the decoder's last 256-channel map, upsampled bilinearly, over each region: (n, 256) float32.

    BadInput as in `region_map_of`.
    """
    from tessera.acquisition.pooling.region_maps import region_map_of
    from tessera.acquisition.pooling.region_means import region_means

    labels = region_map_of(image, "decoder")
    return region_means(model.taps(image.rgb, ("decoder",))["decoder"], labels, image.region_ids)
