"""Check that features are finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32
from tessera.errors import BadInput


def require_finite(features: Float32, image_ids: npt.NDArray[Any], region_ids: npt.NDArray[Any]) -> None:
    """Raise BadInput naming the first region whose feature vector, a row of (n, D), holds NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        at = int(bad[0])
        raise BadInput(
            f"the features of region {region_ids[at]} of image {image_ids[at]} hold NaN or infinity "
            f"({len(bad)} regions in all); check the model's weights"
        )
