"""The selector's work in the compute child: tables in, one ordered table out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from tessera.acquisition import STAGES
from tessera.acquisition.selection.budget import Budget
from tessera.acquisition.selection.pipeline import Stage, run_stages
from tessera.acquisition.selection.pool import Pool
from tessera.errors import BadInput
from tessera.formats import manifests, schemas, selections, tables
from tessera.formats.blobs import Blobs
from tessera.formats.media import PARQUET
from tessera.pb.common_pb2 import AxisValue
from tessera.pb.selector_pb2 import SelectRequest, SelectResponse
from tessera.regions.keys import RegionKeys


def select(request: SelectRequest, blobs: Blobs) -> SelectResponse:
    """Run the request's stages over the regions that are neither labelled nor outside the candidates."""
    pool, score = _pool(request, blobs)
    budget = None
    if request.HasField("budget"):
        budget = Budget(request.budget.unit, request.budget.amount, request.budget.cheapest or 1.0)
    stages, rules = _stages(request.stages), _stages(request.constraints)
    ranked = run_stages(pool, stages, budget, request.seed, score, rules)
    image_ids, region_ids = pool.image_names[pool.image[ranked.rows]], pool.region_id[ranked.rows]
    data = tables.write(
        schemas.SELECTION,
        {
            "rank": np.arange(len(ranked.rows), dtype=np.int32),
            "image_id": image_ids,
            "region_id": region_ids.astype(np.int32),
            "score": ranked.score.astype(np.float32),
            "cluster": ranked.cluster.astype(np.int32),
        },
    )
    return SelectResponse(
        selection=blobs.write(data, PARQUET),
        selection_sha256=selections.sha256(image_ids, region_ids),
        count=len(ranked.rows),
        notes=ranked.notes,
    )


def _stages(axes: Iterable[AxisValue]) -> list[Stage]:
    return [Stage(axis.name, axis.parameters or "{}") for axis in axes]


def _needs_everything(stage: Stage) -> bool:
    return STAGES.entry(stage.name).traits.needs_everything(STAGES.parameters(stage.name, stage.parameters))


def _pool(request: SelectRequest, blobs: Blobs) -> tuple[Pool, np.ndarray[Any, Any] | None]:
    """Return the selectable regions with their columns, and the score that an earlier selection gave them."""
    if not request.shards:
        raise BadInput("SelectRequest.shards: empty; the pool has no regions")
    pool = Pool.build(**_regions(request, blobs))
    pool = _scored(pool, request, blobs)
    if any(_needs_everything(stage) for stage in _stages(request.stages)):
        pool = replace(pool, everything=pool)
    labelled = _labelled(request, blobs)
    # Before regions are removed, because images of labelled regions count in their sequences.
    if request.HasField("manifest"):
        items = manifests.dataset_from_json(blobs.read(request.manifest)).split(request.shards[0].images.split)
        pool = pool.with_times({item.image_id: (item.sequence, item.time) for item in items})
    pool = pool.without(labelled["image_id"], labelled["region_id"])
    score = None
    if request.HasField("candidates"):
        pool, score = _candidates(pool, blobs.read(request.candidates))
    if request.HasField("embedding"):
        return _embedded(pool, labelled, blobs.read(request.embedding)), score
    return pool.with_labelled(labelled["image_id"], labelled["region_id"], None), score


def _regions(request: SelectRequest, blobs: Blobs) -> dict[str, Any]:
    """Return key and size of every region; boxes stay in the file, since nothing here reads them."""
    names = ("image_id", "region_id", "pixels")
    parts = [
        tables.read(schemas.REGIONS, blobs.read(shard.regions), f"region table of shard {index}", names)
        for index, shard in enumerate(request.shards)
    ]
    table = tables.concat(parts)
    return {"image_ids": table["image_id"], "region_ids": table["region_id"], "pixels": table["pixels"]}


def _labelled(request: SelectRequest, blobs: Blobs) -> dict[str, Any]:
    """Return the keys of every answer so far."""
    keys = ("image_id", "region_id")
    if not request.ledgers:
        return {"image_id": np.empty(0, object), "region_id": np.empty(0, np.int32)}
    parts = [
        tables.read(schemas.LEDGER, blobs.read(ledger), f"ledger {index}", keys)
        for index, ledger in enumerate(request.ledgers)
    ]
    return tables.concat(parts)


def _scored(pool: Pool, request: SelectRequest, blobs: Blobs) -> Pool:
    if not request.scores:
        return pool
    parts = [tables.read_scores(blobs.read(ref), f"score table {index}") for index, ref in enumerate(request.scores)]
    for part in parts:
        del part["pixels"]
    table = tables.concat(parts)
    del parts
    image_ids, region_ids = table.pop("image_id"), table.pop("region_id")
    return pool.with_scores(image_ids, region_ids, table)


def _candidates(pool: Pool, data: bytes) -> tuple[Pool, np.ndarray[Any, Any]]:
    table = tables.read(schemas.SELECTION, data, "candidates")
    rows = pool.locate(table["image_id"], table["region_id"])
    known = rows >= 0  # a candidate labelled since is no longer in the pool
    order = np.argsort(rows[known])
    return pool.take(rows[known]), table["score"][known][order].astype(np.float64)


def _embedded(pool: Pool, labelled: dict[str, Any], data: bytes) -> Pool:
    """Return the pool with its points, and with those of the labelled regions when the table describes all of them."""
    table = tables.read_scores(data, "embedding")
    image_ids, region_ids = table.pop("image_id"), table.pop("region_id")
    points = np.stack(list(table.values()), axis=1)
    pool = pool.with_embedding(image_ids, region_ids, points)
    done = RegionKeys.encode(labelled["image_id"], labelled["region_id"])
    rows = RegionKeys.encode(image_ids, region_ids).locate(done)
    described = points[rows] if len(done) > 0 and (rows >= 0).all() else None
    return pool.with_labelled(labelled["image_id"], labelled["region_id"], described)
