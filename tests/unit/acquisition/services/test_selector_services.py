"""The selector, handler and compute, on tables of scorer and embedder in a store that is a dictionary."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from artefacts import grid_shard
from memory_blobs import served
from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.pb.common_pb2 import AxisValue
from tessera.pb.embedder_pb2 import FeatureShard, FitRequest
from tessera.pb.selector_pb2 import Budget, SelectRequest
from unit.acquisition.services.service_world import featurize, ledger_of, read_all, rows, score_all, stages, world

embedder = served("embedder")
selector = served("selector")

__all__ = ["world"]


async def test_a_round_of_meal(world):
    scores = await score_all(world, world.shards, "entropy_mean")
    initial = await selector.select(
        SelectRequest(
            shards=world.shards,
            stages=stages(("random_images", '{"images":1}')),
            budget=Budget(unit="regions", amount=80),
            seed=1,
        ),
        world,
    )
    first, _ = rows(world, initial)
    assert len(first) == 16
    assert len({image for image, _ in first}) == 1
    ledger = world.write(tables.write(schemas.LEDGER, ledger_of(first)), "")
    shortlist = SelectRequest(
        shards=world.shards,
        scores=scores,
        ledgers=[ledger],
        stages=stages(("top", '{"by":"entropy_mean","count":20}')),
        budget=Budget(unit="regions", amount=64),
        seed=2,
    )
    candidates = await selector.select(shortlist, world)
    short, table = rows(world, candidates)
    assert len(short) == 20
    assert not set(short) & set(first)
    everything = read_all(world, scores)
    regions = zip(everything["image_id"], everything["region_id"], strict=True)
    score = dict(zip(regions, everything["entropy_mean"], strict=True))
    free = sorted((key for key in score if key not in set(first)), key=lambda key: (-score[key], *key))
    assert short == free[:20]
    assert table["score"].tolist() == [score[key] for key in short]
    made = await featurize(world, world.model, candidates.selection, world.shards)
    shard = FeatureShard(features=made.features, targets=made.targets)
    axis = AxisValue(name="umap", parameters='{"epochs":20,"neighbors":5}')
    fitted = await embedder.fit(FitRequest(shards=[shard], projection=axis, seed=3), world)
    final = SelectRequest(
        shards=world.shards,
        scores=scores,
        candidates=candidates.selection,
        embedding=fitted.embedding,
        ledgers=[ledger],
        stages=stages(("kmeans_plusplus", "{}")),
        budget=Budget(unit="regions", amount=6),
        seed=4,
    )
    chosen = await selector.select(final, world)
    picked, table = rows(world, chosen)
    assert len(picked) == 6
    assert set(picked) <= set(short)
    assert table["score"].tolist() == [score[key] for key in picked]
    lines = "".join(f"{image}\t{region}\n" for image, region in picked)
    assert chosen.selection_sha256 == hashlib.sha256(lines.encode()).hexdigest()
    # Neither the order of shards nor of score tables is seen in the result.
    turned = SelectRequest()
    turned.CopyFrom(final)
    del turned.shards[:], turned.scores[:]
    turned.shards.extend(world.shards[::-1])
    turned.scores.extend(scores[::-1])
    assert await selector.select(turned, world) == chosen
    one = SelectRequest()
    one.CopyFrom(final)
    del one.shards[:], one.scores[:]
    one.shards.append(grid_shard(world, 0, 5))
    one.scores.extend(await score_all(world, one.shards, "entropy_mean"))
    assert (await selector.select(one, world)).selection_sha256 == chosen.selection_sha256


async def test_selector_names_what_is_wrong(world):
    everything = [(f"im{image}", region) for image in range(5) for region in range(16)]
    ledger = world.write(tables.write(schemas.LEDGER, ledger_of(everything)), "")
    request = SelectRequest(
        shards=world.shards, stages=stages(("random", "{}")), budget=Budget(unit="regions", amount=81)
    )
    with pytest.raises(BadInput, match=r"81 regions are asked for and 80 unlabelled regions are left"):
        await selector.select(request, world)
    request.ledgers.append(ledger)
    with pytest.raises(BadInput, match=r"no unlabelled regions are left"):
        await selector.select(request, world)
    with pytest.raises(BadInput, match=r"shards: empty"):
        await selector.select(SelectRequest(stages=stages(("random", "{}"))), world)
    scores = await score_all(world, world.shards[:1], "random_mean")
    request = SelectRequest(shards=world.shards, scores=scores, stages=stages(("top", '{"by":"random_mean"}')))
    with pytest.raises(BadInput, match=r"0 values for region 0 of image im2"):
        await selector.select(request, world)
    both = SelectRequest(shards=[world.shards[0], world.shards[0]], stages=stages(("random", "{}")))
    with pytest.raises(BadInput, match=r"region 0 of image im0 appears twice"):
        await selector.select(both, world)


async def test_distances_to_labelled_regions_come_from_the_embedding_and_times_from_the_manifest(world):
    made = [await featurize(world, world.model, shard.regions, [shard]) for shard in world.shards]
    shards = [FeatureShard(features=one.features, targets=one.targets) for one in made]
    none = AxisValue(name="none", parameters="{}")
    everything = await embedder.fit(FitRequest(shards=shards, projection=none, seed=1), world)
    done = [("im3", 7), ("im0", 2), ("im0", 1)]
    ledgers = [world.write(tables.write(schemas.LEDGER, ledger_of(part)), "") for part in (done[:2], done[2:])]
    request = SelectRequest(
        manifest=world.manifest,
        shards=world.shards,
        embedding=everything.embedding,
        ledgers=ledgers,
        stages=stages(("k_center", "{}")),
        constraints=stages(("min_seconds", '{"seconds":1.5,"against":"labelled"}')),
        budget=Budget(unit="regions", amount=1),
        seed=4,
    )
    chosen, _ = rows(world, await selector.select(request, world))
    points = tables.read_scores(world.objects[everything.embedding.sha256], "")
    x = np.stack([points[f"x{axis}"] for axis in range(320)], axis=1).astype(np.float64)
    place = {key: at for at, key in enumerate(zip(points["image_id"], points["region_id"], strict=True))}
    # im0 (0 s) and im3 (3 s) are labelled: regions within 1.5 s of them are refused.
    del request.constraints[:]
    far, _ = rows(world, await selector.select(request, world))
    distance = {key: min(((x[at] - x[place[one]]) ** 2).sum() for one in done) for key, at in place.items()}
    assert far[0] == max((key for key in place if key not in done), key=distance.__getitem__)
    assert not chosen
    # In shards of another cut, in another order, the choice is the same.
    request.budget.amount = 9
    before = await selector.select(request, world)
    del request.shards[:]
    request.shards.extend([grid_shard(world, 3, 5), grid_shard(world, 0, 1), grid_shard(world, 1, 3)])
    del request.ledgers[:]
    request.ledgers.extend(ledgers[::-1])
    assert await selector.select(request, world) == before
    # An embedding of candidates alone does not do.
    short = world.write(tables.write(schemas.TARGETS, {"image_id": ["im1", "im2"], "region_id": [0, 0]}), "")
    some = await featurize(world, world.model, short, world.shards)
    fitted = FitRequest(shards=[FeatureShard(features=some.features, targets=some.targets)], projection=none, seed=1)
    request.embedding.CopyFrom((await embedder.fit(fitted, world)).embedding)
    candidates = {"rank": [0, 1], "image_id": ["im1", "im2"], "region_id": [0, 0], "score": [0, 0], "cluster": [0, 0]}
    request.candidates.CopyFrom(world.write(tables.write(schemas.SELECTION, candidates), ""))
    request.budget.amount = 1
    with pytest.raises(BadInput, match="does not hold all of them; featurize the earlier selections"):
        await selector.select(request, world)


async def test_how_regions_were_answered_changes_no_choice(world):
    """Of a ledger the selector and the embedder know which regions it names, and nothing else."""
    done = [("im3", 7), ("im0", 2), ("im0", 1)]
    answered = ledger_of(done) | {"classes": [[2, 3], [1], [0, 4]], "clicks": [9, 8, 7], "seconds": [3.0, 2.0, 1.0]}
    chosen, described = [], []
    for columns in (ledger_of(done), answered):
        ledger = world.write(tables.write(schemas.LEDGER, columns), "")
        request = SelectRequest(shards=world.shards, ledgers=[ledger], stages=stages(("random", '{"count":9}')))
        chosen.append(await selector.select(request, world))
        described.append(await featurize(world, world.model, ledger, world.shards))
    assert chosen[0] == chosen[1]
    assert described[0] == described[1]
    assert described[0].count == len(done)
