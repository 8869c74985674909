"""The region map of an image, checked before features read it."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Int32, RegionImage
from tessera.errors import BadInput
from tessera.regions.table import require_map_of


def region_map_of(image: RegionImage, features: str) -> Int32:
    """Return the image's region map (H, W); BadInput without one, for another size, or for a region without pixels."""
    labels = image.region_map
    if labels is None:
        raise BadInput(f"features {features} need the region maps; none were given")
    require_map_of(f"features {features}: the image", image.rgb.shape, labels.shape)
    present = np.bincount(labels.ravel(), minlength=int(image.region_ids.max(initial=0)) + 1)
    empty = image.region_ids[present[image.region_ids] == 0]
    if len(empty):
        raise BadInput(f"features {features}: region {int(empty[0])} has no pixel in the map; partition again")
    return labels
