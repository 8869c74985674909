"""PixBal through scorer and selector: vector columns in the tables, the prior over all shards and labelled regions."""

from __future__ import annotations

import numpy as np
import pytest

from artefacts import grid_shard
from memory_blobs import served
from tessera.errors import BadInput
from tessera.formats import images, schemas, tables
from tessera.models.predictor import Predictor
from tessera.pb.common_pb2 import AxisValue
from tessera.pb.scorer_pb2 import ScoreColumn, ScoreRequest
from tessera.pb.selector_pb2 import Budget, SelectRequest
from unit.acquisition.scoring.test_scores import softmax_map
from unit.acquisition.services.service_world import CLASSES, ledger_of, read_all, rows, stages, world

scorer = served("scorer")
selector = served("selector")

__all__ = ["world"]
COLUMNS = [("bvsb", "by_class"), ("probability", "mean"), ("predicted", "majority")]
NAMES = [
    *[f"bvsb_by_class_{c}" for c in range(CLASSES)],
    *[f"probability_mean_{c}" for c in range(CLASSES)],
    "predicted_majority",
]


async def scores(store, shards):
    columns = [
        ScoreColumn(column=f"{a}_{b}", score=AxisValue(name=a), aggregation=AxisValue(name=b)) for a, b in COLUMNS
    ]
    requests = [
        ScoreRequest(manifest=store.manifest, shard=shard, model=store.model, columns=columns) for shard in shards
    ]
    return [(await scorer.score(request, store)).scores for request in requests]


def pixbal(store, nu: float) -> dict[tuple[str, int], float]:
    """MulActSeg Eq. 3 over every pixel of the data set, then Eq. 4 over every region: two passes."""
    region_map = np.kron(np.arange(16).reshape(4, 4), np.ones((12, 16), int))
    predictor = Predictor(store.network)
    maps = [images.decode_rgb(store.objects[item.image.sha256], "") for item in store.items]
    p = np.stack([softmax_map(predictor.logits(rgb), region_map.shape) for rgb in maps])
    weight = (1 + nu * p.mean(axis=(0, 2, 3))) ** -2.0
    found = {}
    for item, one in zip(store.items, p, strict=True):
        ordered = np.sort(one, axis=0)[::-1]
        value = ordered[1] / ordered[0] * weight[one.argmax(axis=0)]
        found |= {(item.image_id, r): value[region_map == r].mean() for r in range(16)}
    return found


async def test_pixbal_from_request_to_selection(world):
    made = await scores(world, world.shards)
    table = read_all(world, made)
    assert list(table) == ["image_id", "region_id", "pixels", *NAMES]
    assert all(table[name].dtype == np.float32 for name in NAMES)
    done = [("im0", region) for region in range(16)] + [("im3", 5)]
    request = SelectRequest(
        shards=world.shards,
        scores=made,
        ledgers=[world.write(tables.write(schemas.LEDGER, ledger_of(done)), "")],
        stages=stages(("class_balanced", '{"nu":12.0}')),
        budget=Budget(unit="regions", amount=20),
    )
    chosen, picked = rows(world, await selector.select(request, world))
    expected = pixbal(world, 12.0)
    best = sorted((key for key in expected if key not in done), key=lambda key: -expected[key])
    assert chosen == best[:20]
    np.testing.assert_allclose(picked["score"], [expected[key] for key in chosen], rtol=1e-4)
    # Shards of another cut and order: the same prior to the last bit, the same regions.
    before = await selector.select(request, world)
    del request.shards[:], request.scores[:]
    request.shards.extend([grid_shard(world, 4, 5), grid_shard(world, 0, 1), grid_shard(world, 1, 4)])
    request.scores.extend(await scores(world, request.shards))
    assert await selector.select(request, world) == before


async def test_a_table_without_the_columns_is_refused(world):
    request = SelectRequest(
        shards=world.shards,
        scores=await scores(world, world.shards),
        stages=stages(("class_balanced", '{"mode":"classbal"}')),
        budget=Budget(unit="regions", amount=2),
    )
    with pytest.raises(BadInput, match=r"class_balanced: no score column 'bvsb_mean'; columns: bvsb_by_class_0"):
        await selector.select(request, world)
