"""Global average of the backbone's last map, MEAL's description of a patch."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import FeatureModel, Float32, RegionImage
from tessera.errors import BadInput
from tessera.registry import Params


class BackboneParams(Params):
    """``context`` crop runs the region's box alone (MEAL); image averages the whole image's map over the region."""

    context: Literal["crop", "image"] = "crop"


def _needs_maps(params: BackboneParams) -> bool:
    return params.context == "image"


@FEATURES.register("backbone", BackboneParams, needs_maps=_needs_maps)
def backbone(model: FeatureModel, image: RegionImage, params: BackboneParams) -> Float32:
    """GAP of the 320-channel map of each region, (n, 320) float32 (MEAL §3.3: features of the image patches).

    Crops run one at a time, so that a patch has the same features whatever else is asked for. BadInput for a box
    outside the image.
    """
    if params.context == "image":
        from tessera.acquisition.pooling import region_means

        if image.region_map is None:
            raise BadInput("features backbone with context image need the region maps; none were given")
        return region_means(model.features(image.rgb), image.region_map, image.region_ids)
    height, width = image.rgb.shape[:2]
    rows = []
    for region, (y0, x0, y1, x1) in zip(image.region_ids, image.boxes, strict=True):
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise BadInput(
                f"region {region}: box [{y0}, {y1}) × [{x0}, {x1}) is not inside the image of {height}×{width}; "
                "partition the data set again"
            )
        crop = np.ascontiguousarray(image.rgb[y0:y1, x0:x1])
        rows.append(model.features(crop).mean(axis=(1, 2), dtype=np.float64))
    return np.asarray(rows, np.float32)
