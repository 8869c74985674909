"""Global average of the backbone's last map, MEAL's description of a patch."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import FeatureModel, Float32, RegionImage
from tessera.acquisition.traits import FeatureTraits
from tessera.errors import BadInput
from tessera.models import Offer
from tessera.registry import Params

_BATCH = 8
_BATCH_PIXELS = 1 << 20


class BackboneParams(Params):
    """``context`` crop runs the region's box alone (MEAL); image averages the whole image's map over the region.

    ``layer`` last_convolution goes on to ImageNet's 1280 channels; the model must carry them (``last_convolution``).
    """

    context: Literal["crop", "image"] = "crop"
    layer: Literal["block17", "last_convolution"] = "block17"


def _needs_maps(params: BackboneParams) -> bool:
    return params.context == "image"


def _needs_offers(params: BackboneParams) -> frozenset[Offer]:
    return frozenset({"last_convolution"} if params.layer == "last_convolution" else ())


def _bank(params: BackboneParams) -> str | None:
    return "backbone" if params.context == "image" and params.layer == "block17" else None


@FEATURES.register(
    "backbone",
    BackboneParams,
    FeatureTraits(needs_maps=_needs_maps, needs_head=False, needs_offers=_needs_offers, bank=_bank),
)
def backbone(model: FeatureModel, image: RegionImage, params: BackboneParams) -> Float32:
    """GAP of the 320- (or 1280-) channel map of each region, float32 (MEAL §3.2, §3.4: features of image patches).

    Crops of one size go through the network as one batch, in a third of the time of single crops. A batch never holds
    crops of two images, so that shards do not matter. BadInput for a box outside the image.
    """
    if params.context == "image":
        from tessera.acquisition.pooling.region_means import region_means

        if image.region_map is None:
            raise BadInput("features backbone with context image need the region maps; none were given")
        if params.layer == "last_convolution":
            features = model.taps(image.rgb, ("widened",))["widened"]
        else:
            features = model.features(image.rgb)
        return region_means(features, image.region_map, image.region_ids)
    _check_boxes(image)
    sizes: dict[tuple[int, int], list[int]] = {}
    for row, (y0, x0, y1, x1) in enumerate(image.boxes.tolist()):
        sizes.setdefault((y1 - y0, x1 - x0), []).append(row)
    parts: dict[int, Float32] = {}
    for (height, width), rows in sizes.items():
        step = max(1, min(_BATCH, _BATCH_PIXELS // (height * width)))
        for start in range(0, len(rows), step):
            batch = rows[start : start + step]
            parts.update(zip(batch, _crop_means(model, image, batch, params), strict=True))
    return np.stack([parts[row] for row in range(len(image.boxes))])


def _crop_means(model: FeatureModel, image: RegionImage, rows: list[int], params: BackboneParams) -> Float32:
    import torch

    crops = np.stack([image.rgb[y0:y1, x0:x1] for y0, x0, y1, x1 in image.boxes[rows].tolist()])
    _, high = model.maps(torch.from_numpy(crops))
    if params.layer == "last_convolution":
        high = model.widened(high)
    return np.asarray(high.float().cpu().numpy().mean(axis=(2, 3), dtype=np.float64), np.float32)


def _check_boxes(image: RegionImage) -> None:
    height, width = image.rgb.shape[:2]
    for region, (y0, x0, y1, x1) in zip(image.region_ids.tolist(), image.boxes.tolist(), strict=True):
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise BadInput(
                f"region {region}: box [{y0}, {y1}) × [{x0}, {x1}) is not inside the image of {height}×{width}; "
                "partition the data set again"
            )
