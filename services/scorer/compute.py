"""The scorer's work in the compute child: decode, forward, one fused pass, one table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.scorer.columns import columns_of
from services.scorer.networks import network_scores, split
from services.scorer.passes import logits_of
from tessera.acquisition.interfaces import Columns, RegionImage
from tessera.acquisition.scoring import region_scores
from tessera.errors import BadInput
from tessera.formats import images, manifests, predictors, schemas, shards, tables
from tessera.formats.blobs import Blobs
from tessera.formats.media import PARQUET
from tessera.pb.scorer_pb2 import ScoreRequest, ScoreResponse
from tessera.regions.table import require_map_of

if TYPE_CHECKING:
    from tessera.models.predictor import Predictor

Part = tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]


def score(request: ScoreRequest, blobs: Blobs) -> ScoreResponse:
    """Score every region of the shard; rows in the order of its region table."""
    columns = columns_of(request)
    regions = tables.read(schemas.REGIONS, blobs.read(request.shard.regions), f"regions of {_where(request)}")
    names = region_scores.table_columns(columns, request.model.classes)
    values = {name: np.full(len(regions["region_id"]), np.nan, np.float32) for name in names}
    parts = _seen if region_scores.needs_images(columns) else _drawn
    for rows, part in parts(request, columns, regions, blobs):
        for name, column in part.items():
            values[name][rows] = column
    table = {name: regions[name] for name in ("image_id", "region_id", "pixels")} | values
    data = tables.write(schemas.scores(names), table)
    return ScoreResponse(scores=blobs.write(data, PARQUET), region_count=len(regions["region_id"]))


def _drawn(request: ScoreRequest, columns: Columns, regions: dict[str, Any], blobs: Blobs) -> Iterator[Part]:
    for image_id, rows in _rows_by_image(regions).items():
        yield rows, region_scores.draw_regions(columns, request.seed, image_id, regions["region_id"][rows])


def _seen(request: ScoreRequest, columns: Columns, regions: dict[str, Any], blobs: Blobs) -> Iterator[Part]:
    predictor = _predictor(request, blobs) if region_scores.needs_model(columns) else None
    by_pass, by_network = split(columns)
    networks = network_scores(request, by_network, blobs)
    wanted = sorted(region_scores.pass_sets(by_pass))
    items = manifests.dataset_from_json(blobs.read(request.manifest)).items(request.shard.images)
    maps = shards.map_refs([request.shard], blobs.read)
    rows_by_image = _rows_by_image(regions)
    known = {item.image_id for item in items}
    if known != set(rows_by_image) or not known <= set(maps):
        raise BadInput(f"{_where(request)}: manifest, regions and maps name different images; partition again")
    decoded, region_map = "", np.empty((0, 0), np.int32)
    for done, item in enumerate(items):
        rgb = images.decode_rgb(blobs.read(item.image), item.image_id)
        ref = maps[item.image_id]
        if ref.sha256 != decoded:  # a grid cuts every image alike
            region_map = images.decode_map(blobs.read(ref), f"region map of {item.image_id}")
            decoded = ref.sha256
        require_map_of(f"image {item.image_id}", rgb.shape, region_map.shape)
        rows = rows_by_image[item.image_id]
        ids = regions["region_id"][rows]
        part: dict[str, NDArray[np.float32]] = {}
        if by_pass:
            logits, extra = None, None
            if predictor is not None and region_scores.needs_model(by_pass):
                logits, extra = logits_of(predictor, item, rgb, wanted, request.seed)
            whole = region_scores.score_regions(logits, region_map, by_pass, request.seed, item.image_id, extra)
            if any(len(column) != len(ids) for column in whole.values()) or len(np.unique(ids)) != int(ids.max()) + 1:
                raise BadInput(f"image {item.image_id}: region table and map differ; partition the data set again")
            part = {name: column[ids] for name, column in whole.items()}
        boxes = np.stack([regions[name][rows] for name in ("y0", "x0", "y1", "x1")], axis=1)
        image = RegionImage(rgb, ids, boxes, region_map)
        part |= {name: network(predictor, image) for name, network in networks.items()}
        yield rows, part
        blobs.progress((done + 1) / len(items), item.image_id)


def _predictor(request: ScoreRequest, blobs: Blobs) -> Predictor:
    if request.model.classes < 2:
        raise BadInput(f"ScoreRequest.model: {request.model.classes} classes, so it cannot score; name a trained model")
    return predictors.predictor(request.model, blobs.read)


def _rows_by_image(regions: dict[str, Any]) -> dict[str, NDArray[np.int64]]:
    names, codes = np.unique(regions["image_id"], return_inverse=True)
    return {str(name): np.flatnonzero(codes == index) for index, name in enumerate(names)}


def _where(request: ScoreRequest) -> str:
    part = request.shard.images
    return f"shard {part.split}[{part.start}, {part.end})"
