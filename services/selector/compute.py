"""The selector's work in the compute child: tables in, one ordered table out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from tessera.acquisition.selection.budget import Budget
from tessera.acquisition.selection.pipeline import Stage, run_stages
from tessera.acquisition.selection.pool import Pool
from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.formats.media import PARQUET
from tessera.pb.selector_pb2 import SelectRequest, SelectResponse
from tessera.runtime.method import Blobs


def select(request: SelectRequest, blobs: Blobs) -> SelectResponse:
    """Run the request's stages over the regions that are neither labelled nor outside the candidates."""
    pool, score = _pool(request, blobs)
    budget = Budget(request.budget.unit, request.budget.amount) if request.HasField("budget") else None
    stages = [Stage(stage.name, stage.parameters or "{}") for stage in request.stages]
    ranked = run_stages(pool, stages, budget, request.seed, score)
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
        selection_sha256=selection_sha256(image_ids, region_ids),
        count=len(ranked.rows),
    )


def selection_sha256(image_ids: Iterable[str], region_ids: Iterable[int]) -> str:
    """SHA-256, hexadecimal, over the lines "image_id TAB region_id NEWLINE" in rank order."""
    lines = "".join(f"{image}\t{region}\n" for image, region in zip(image_ids, region_ids, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _pool(request: SelectRequest, blobs: Blobs) -> tuple[Pool, np.ndarray[Any, Any] | None]:
    """The selectable regions with their columns, and the score that an earlier selection gave them."""
    if not request.shards:
        raise BadInput("SelectRequest.shards: empty; the pool has no regions")
    regions = tables.concat(
        [
            tables.read(schemas.REGIONS, blobs.read(shard.regions), f"region table of shard {index}")
            for index, shard in enumerate(request.shards)
        ]
    )
    pool = Pool.build(regions["image_id"], regions["region_id"], regions["pixels"])
    pool = pool.with_scores(*_scores(pool, request, blobs))
    for index, ledger in enumerate(request.ledgers):
        labelled = tables.read(schemas.LEDGER, blobs.read(ledger), f"ledger {index}")
        pool = pool.without(labelled["image_id"], labelled["region_id"])
    score = None
    if request.HasField("candidates"):
        pool, score = _candidates(pool, blobs.read(request.candidates))
    if request.HasField("embedding"):
        pool = _embedded(pool, blobs.read(request.embedding))
    return pool, score


def _scores(pool: Pool, request: SelectRequest, blobs: Blobs) -> tuple[Any, Any, dict[str, Any]]:
    if not request.scores:
        return pool.image_names[pool.image], pool.region_id, {}
    parts = [tables.read_scores(blobs.read(ref), f"score table {index}") for index, ref in enumerate(request.scores)]
    table = tables.concat(parts)
    columns = {name: table[name] for name in table if name not in ("image_id", "region_id", "pixels")}
    return table["image_id"], table["region_id"], columns


def _candidates(pool: Pool, data: bytes) -> tuple[Pool, np.ndarray[Any, Any]]:
    table = tables.read(schemas.SELECTION, data, "candidates")
    rows = pool.locate(table["image_id"], table["region_id"])
    known = rows >= 0  # a candidate that has been labelled since is no longer in the pool
    order = np.argsort(rows[known])
    return pool.take(rows[known]), table["score"][known][order].astype(np.float64)


def _embedded(pool: Pool, data: bytes) -> Pool:
    table = tables.read_scores(data, "embedding")
    points = np.stack([table[name] for name in table if name not in ("image_id", "region_id")], axis=1)
    return pool.with_embedding(table["image_id"], table["region_id"], points)
