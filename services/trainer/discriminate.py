"""Training of auxiliary networks in the compute child, from images, regions and which of them have an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.compute import device
from tessera.errors import BadInput
from tessera.formats import manifests, predictors, schemas, tables, weights
from tessera.formats.blobs import Blobs
from tessera.formats.media import PARQUET, SAFETENSORS
from tessera.formats.samples import StoredImage
from tessera.pb.common_pb2 import AuxiliaryRef
from tessera.pb.trainer_pb2 import DiscriminateRequest, DiscriminateResponse
from tessera.regions.keys import RegionKeys
from tessera.training import auxiliary
from tessera.training.auxiliary import AUXILIARIES, FeatureMap, Regions

if TYPE_CHECKING:
    from collections.abc import Sequence

_BOX = ("y0", "x0", "y1", "x1")


def discriminate(request: DiscriminateRequest, blobs: Blobs) -> DiscriminateResponse:
    """Train the network that the request names and write its tensors and history. No label is read."""
    axis = request.auxiliary
    splits = {shard.images.split for shard in request.shards}
    if len(splits) != 1:
        raise BadInput(f"DiscriminateRequest.shards: {len(splits)} splits; a pool is one split, give all its shards")
    tables_of = [tables.read(schemas.REGIONS, blobs.read(shard.regions), "region table") for shard in request.shards]
    items = manifests.dataset_from_json(blobs.read(request.manifest)).split(splits.pop())
    regions = _regions(tables.concat(tables_of), _asked(request, blobs), [item.image_id for item in items])
    made = auxiliary.train(
        axis.name,
        axis.parameters,
        regions,
        [StoredImage(item, blobs) for item in items],
        _features(request, blobs) if AUXILIARIES.entry(axis.name).traits.needs_model else None,
        request.seed,
        blobs.progress,
        device(),
    )
    names = schemas.AUXILIARY_HISTORY.names
    history = {name: [getattr(row, name) for row in made.history] for name in names}
    stored = blobs.write(weights.save(made.state), SAFETENSORS)
    return DiscriminateResponse(
        auxiliary=AuxiliaryRef(auxiliary=axis, weights=stored),
        history=blobs.write(tables.write(schemas.AUXILIARY_HISTORY, history), PARQUET),
    )


def _asked(request: DiscriminateRequest, blobs: Blobs) -> RegionKeys:
    """Return the keys of all regions with an answer."""
    keys = ("image_id", "region_id")
    if not request.ledgers:
        return RegionKeys.encode([], [])
    parts = [tables.read(schemas.LEDGER, blobs.read(ref), f"ledger {ref.key}", keys) for ref in request.ledgers]
    table = tables.concat(parts)
    return RegionKeys.encode(table["image_id"], table["region_id"])


def _regions(table: dict[str, NDArray[Any]], asked: RegionKeys, names: Sequence[str]) -> Regions:
    """Return the pool's regions by manifest order and region id, however sharded; BadInput for an unknown image."""
    keys = RegionKeys.encode(table["image_id"], table["region_id"])
    keys.order()  # raises BadInput for shards that overlap
    place = {name: index for index, name in enumerate(names)}
    strangers = [str(name) for name in keys.image_names if name not in place]
    rows = keys.locate(asked)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown) or strangers:
        what = asked.name(int(unknown[0])) if len(unknown) else f"image {strangers[0]}"
        raise BadInput(f"DiscriminateRequest: {what} is not in the pool; give the shards and ledgers of one run")
    image = np.array([place[name] for name in keys.image_names], np.int64)[keys.image]
    order = np.lexsort((keys.region_id, image))
    labelled = np.zeros(len(keys), bool)
    labelled[rows] = True
    box = np.stack([table[name] for name in _BOX], axis=1).astype(np.int32)
    return Regions(image[order], box[order], labelled[order])


def _features(request: DiscriminateRequest, blobs: Blobs) -> FeatureMap:
    if request.model.classes < 2:
        raise BadInput(
            f"DiscriminateRequest.model: auxiliary {request.auxiliary.name} reads the features of a trained network; "
            "name one"
        )
    predictor = predictors.predictor(request.model, blobs.read)
    return lambda rgb, tap: predictor.taps(rgb, (tap,))[tap]
