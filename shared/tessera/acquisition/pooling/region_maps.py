"""What features that look at a whole image check first."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Int32, RegionImage
from tessera.errors import BadInput


def region_map_of(image: RegionImage, features: str) -> Int32:
    """The image's region map (H, W); BadInput without one, of another size, or when a region has no pixel in it."""
    labels = image.region_map
    if labels is None:
        raise BadInput(f"features {features} need the region maps; none were given")
    if labels.shape != image.rgb.shape[:2]:
        raise BadInput(
            f"features {features}: the image is {image.rgb.shape[0]}×{image.rgb.shape[1]} pixels and its region map "
            f"{labels.shape[0]}×{labels.shape[1]}; partition the data set again"
        )
    present = np.bincount(labels.ravel(), minlength=int(image.region_ids.max(initial=0)) + 1)
    empty = image.region_ids[present[image.region_ids] == 0]
    if len(empty):
        raise BadInput(f"features {features}: region {int(empty[0])} has no pixel in the map; partition again")
    return labels
