"""The selector from request to table: N shards give the same ids in the same order as one, for every stage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_blobs import MemoryBlobs
from services.selector.compute import select
from tessera.formats import manifests, schemas, tables
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.pb.common_pb2 import AxisValue, ImageRange, ObjectRef, RegionShard
from tessera.pb.selector_pb2 import Budget, SelectRequest
from unit.acquisition.selection.pools import LABELLED, STAGES, TIMES, N, columns, keys, pool

SCORES = ("e", "d", "predicted_majority")


def request(blobs: MemoryBlobs, parts: list[np.ndarray], name: str, ties: bool, constrained: bool) -> SelectRequest:
    """A selection over shards that hold these rows."""
    given = columns(ties)
    made = SelectRequest(budget=Budget(unit="regions", amount=9), seed=11)
    item = ObjectRef(bucket="b", key="datasets/x/i.png", sha256="0" * 64, size=1, media_type="image/png")
    items = tuple(ImageItem(image, item, 8, 8, *place) for image, place in sorted(TIMES.items(), reverse=True))
    manifest = DatasetManifest("x", (ClassInfo("c", (0, 0, 0)),), {"train": items})
    made.manifest.CopyFrom(blobs.write(manifests.dataset_to_json(manifest), ""))
    # The labelled regions are in the last shard, with scores of their own.
    done = {"image_id": [image for image, _ in LABELLED], "region_id": [region for _, region in LABELLED]}
    for at, rows in enumerate(parts):
        table = {key: list(given[key][rows]) for key in ("image_id", "region_id", "pixels", *SCORES)}
        if at == len(parts) - 1:
            table = {key: [*values, *done.get(key, [1.0] * len(LABELLED))] for key, values in table.items()}
        zeros = np.zeros(len(table["image_id"]), int)
        regions = {key: table[key] for key in ("image_id", "region_id", "pixels")}
        regions["pixels"] = [int(value) for value in regions["pixels"]]
        boxes = dict.fromkeys(("y0", "x0", "y1", "x1"), zeros)
        shard = RegionShard(images=ImageRange(split="train", start=at, end=at + 1))
        shard.regions.CopyFrom(blobs.write(tables.write(schemas.REGIONS, {**regions, **boxes}), ""))
        made.shards.append(shard)
        scored = {**regions, **{key: np.asarray(table[key], np.float32) for key in SCORES}}
        made.scores.append(blobs.write(tables.write(schemas.scores(SCORES), scored), ""))
    points = np.concatenate([given["x"], given["labelled"]])
    embedded = {f"x{axis}": points[:, axis].astype(np.float32) for axis in range(3)}
    embedded |= {key: [*given[key], *done[key]] for key in ("image_id", "region_id")}
    made.embedding.CopyFrom(blobs.write(tables.write(schemas.embedding(3), embedded), ""))
    for at in range(len(LABELLED)):
        row = {key: ["x"] for key in schemas.LEDGER.names if str(schemas.LEDGER.field(key).type) == "string"}
        row |= {key: [values[at]] for key, values in done.items()} | {"classes": [[0]]}
        row |= {key: [0] for key in schemas.LEDGER.names if key not in row}
        made.ledgers.append(blobs.write(tables.write(schemas.LEDGER, row), ""))
    made.stages.extend(AxisValue(name=stage.name, parameters=stage.parameters) for stage in STAGES[name])
    if constrained:
        made.constraints.append(AxisValue(name="min_seconds", parameters='{"seconds":1.2}'))
    return made


@pytest.mark.parametrize("name", sorted(STAGES))
@settings(deadline=None, max_examples=8)
@given(st.data())
def test_shards_change_nothing(name, data):
    ties, constrained = data.draw(st.booleans()), data.draw(st.booleans())
    order = np.array(data.draw(st.permutations(range(N))))
    cuts = sorted(data.draw(st.sets(st.integers(1, N - 1), max_size=5)))
    blobs = MemoryBlobs()
    one = select(request(blobs, [np.arange(N)], name, ties, constrained), blobs)
    many = select(request(blobs, np.split(order, cuts), name, ties, constrained), blobs)
    assert many == one
    assert one.selection_sha256
    # And they are those of the stages on the pool itself.
    if not constrained:
        from tessera.acquisition.selection.budget import Budget as Money
        from tessera.acquisition.selection.pipeline import run_stages

        made = pool(ties=ties)
        ranked = run_stages(made, STAGES[name], Money("regions", 9), 11)
        table = tables.read(schemas.SELECTION, blobs.objects[one.selection.sha256], "")
        chosen = list(zip(table["image_id"].tolist(), table["region_id"].tolist(), strict=True))
        assert chosen == keys(made, ranked.rows)
