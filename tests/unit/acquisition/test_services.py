"""Scorer, embedder and selector, handler and compute together, on a store that is a dictionary."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from memory_blobs import MemoryBlobs
from services.embedder import handler as embedder
from services.scorer import handler as scorer
from services.selector import handler as selector
from tessera import models
from tessera.acquisition.hashing import region_uniform
from tessera.errors import BadInput
from tessera.formats import checkpoints, images, manifests, schemas, tables, weights
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.models.predictor import Predictor
from tessera.pb.common_pb2 import AxisValue, ImageRange, ModelRef, RegionShard
from tessera.pb.embedder_pb2 import FeatureShard, FeaturizeRequest, FitRequest, ProjectRequest
from tessera.pb.scorer_pb2 import ScoreColumn, ScoreRequest
from tessera.pb.selector_pb2 import Budget, SelectRequest
from tessera.regions import partition, region_table

ARCHITECTURE = AxisValue(name="deeplabv3plus_mobilenetv2", parameters="{}")
HEIGHT, WIDTH, IMAGES, CLASSES = 48, 64, 5, 4


def cut(store, start, end):
    """A shard of 4×4 grids, written as the partitioner does."""
    region_map = partition("grid", {"rows": 4, "cols": 4}, (HEIGHT, WIDTH))
    table = region_table(region_map)
    ref = store.write(images.encode_png(region_map.astype(np.uint8)), "image/png")
    ids = [item.image_id for item in store.items[start:end]]
    columns = {
        "image_id": [image_id for image_id in ids for _ in range(16)],
        "region_id": np.tile(np.arange(16, dtype=np.int32), len(ids)),
        "pixels": np.tile(table.pixels, len(ids)),
    }
    for axis, name in enumerate(("y0", "x0", "y1", "x1")):
        columns[name] = np.tile(table.boxes[:, axis], len(ids))
    maps = {"image_id": ids, "height": [HEIGHT] * len(ids), "width": [WIDTH] * len(ids)}
    maps |= {name: [getattr(ref, name)] * len(ids) for name in ("bucket", "key", "sha256", "size", "media_type")}
    return RegionShard(
        images=ImageRange(split="train", start=start, end=end),
        regions=store.write(tables.write(schemas.REGIONS, columns), ""),
        maps=store.write(tables.write(schemas.MAPS, maps), ""),
        region_count=16 * len(ids),
    )


def calibrated(pictures):
    """A random network whose batch norm knows the data, so that its outputs are of a natural size."""
    torch.set_num_threads(1)  # tiny convolutions on two busy threads are twenty times slower
    network = models.build(ARCHITECTURE.name, "{}", CLASSES, seed=1).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 64 - 2)
        network.head.classifier.weight.mul_(4)
    return network.eval()


@pytest.fixture(scope="module")
def world():
    store = MemoryBlobs()
    rng = np.random.default_rng(0)
    store.items = []
    for index in range(IMAGES):
        rgb = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        image = store.write(images.encode_png(rgb), "image/png")
        store.items.append(ImageItem(f"im{index}", image, WIDTH, HEIGHT, "s", float(index)))
    classes = tuple(ClassInfo(f"c{i}", (i, i, i)) for i in range(CLASSES))
    manifest = DatasetManifest("toy", classes, {"train": tuple(store.items)})
    store.manifest = store.write(manifests.dataset_to_json(manifest), "")
    network = calibrated([images.decode_rgb(store.objects[item.image.sha256], "") for item in store.items])
    store.network = network
    store.model = ModelRef(
        architecture=ARCHITECTURE, classes=CLASSES, weights=store.write(checkpoints.dump_model(network), "")
    )
    backbone = weights.save({key: value.numpy() for key, value in network.backbone.state_dict().items()})
    store.backbone = ModelRef(architecture=ARCHITECTURE, classes=0, weights=store.write(backbone, ""))
    store.shards = [cut(store, 0, 2), cut(store, 2, 5)]
    return store


def columns(*names):
    return [
        ScoreColumn(
            column=name,
            score=AxisValue(name=name.split("_")[0], parameters="{}"),
            aggregation=AxisValue(name=name.split("_")[1], parameters="{}"),
        )
        for name in names
    ]


def request_score(store, shard, *names, model=True):
    return ScoreRequest(
        manifest=store.manifest,
        shard=shard,
        model=store.model if model else None,
        columns=columns(*names),
        seed=9,
    )


async def score_all(store, shards, *names):
    return [(await scorer.score(request_score(store, shard, *names), store)).scores for shard in shards]


def read_all(store, refs):
    return tables.concat([tables.read_scores(store.objects[ref.sha256]) for ref in refs])


async def test_scores_do_not_depend_on_sharding_and_are_those_of_the_model(world):
    names = ("entropy_mean", "random_mean")
    whole = read_all(world, await score_all(world, [cut(world, 0, 5)], *names))
    parts = read_all(world, await score_all(world, world.shards, *names))
    assert list(whole) == ["image_id", "region_id", "pixels", *names]
    for name, column in whole.items():
        assert np.array_equal(column, parts[name])
    rgb = images.decode_rgb(world.objects[world.items[3].image.sha256], "")
    logits = torch.from_numpy(Predictor(world.network).logits(rgb))[None]
    p = torch.softmax(torch.nn.functional.interpolate(logits, size=(HEIGHT, WIDTH), mode="bilinear"), dim=1)[0]
    entropy = -(p * p.log()).sum(dim=0).reshape(4, 12, 4, 16).mean(dim=(1, 3)).flatten()
    assert entropy.max() - entropy.min() > 0.01
    np.testing.assert_allclose(whole["entropy_mean"][48:64], entropy.numpy(), rtol=1e-5)
    assert np.array_equal(whole["random_mean"][48:64], region_uniform(9, "im3", np.arange(16)))


async def test_random_scores_read_neither_images_nor_weights(world):
    for model in (True, False):
        response = await scorer.score(request_score(world, world.shards[0], "random_mean", model=model), world)
        assert response.region_count == 32
        assert set(world.reads) == {world.shards[0].regions.sha256}


async def test_scorer_names_what_is_wrong(world):
    with pytest.raises(BadInput, match=r"model: missing.*entropy_mean"):
        await scorer.score(request_score(world, world.shards[0], "entropy_mean", model=False), world)
    with pytest.raises(BadInput, match=r"columns: empty"):
        await scorer.score(request_score(world, world.shards[0]), world)
    with pytest.raises(BadInput, match=r"'entropy_mean' is taken"):
        await scorer.score(request_score(world, world.shards[0], "entropy_mean", "entropy_mean"), world)
    mixed = RegionShard(images=world.shards[0].images, regions=world.shards[1].regions, maps=world.shards[0].maps)
    with pytest.raises(BadInput, match=r"train\[0, 2\).*different images"):
        await scorer.score(request_score(world, mixed, "entropy_mean"), world)
    small = np.zeros((4, 4), np.uint8)
    ref = world.write(images.encode_png(small), "image/png")
    maps = tables.read(schemas.MAPS, world.objects[world.shards[0].maps.sha256], "")
    for name in ("key", "sha256", "size"):
        maps[name][:] = getattr(ref, name)
    shard = RegionShard(
        images=world.shards[0].images,
        regions=world.shards[0].regions,
        maps=world.write(tables.write(schemas.MAPS, maps), ""),
    )
    with pytest.raises(BadInput, match=r"im0 is 64×48 and its region map 4×4"):
        await scorer.score(request_score(world, shard, "entropy_mean"), world)


async def featurize(store, model, targets, shards, context="crop"):
    features = AxisValue(name="backbone", parameters=f'{{"context":"{context}"}}')
    request = FeaturizeRequest(manifest=store.manifest, model=model, features=features, targets=targets, shards=shards)
    return await embedder.featurize(request, store)


def close(got, expected):
    """Equal within the rounding of bfloat16, on the scale of the largest feature."""
    assert np.abs(expected).max() > 0.1
    assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


def matrix(store, response):
    return weights.load(store.objects[response.features.sha256], "")["features"]


async def test_features_of_a_backbone_alone_and_of_candidates_are_those_of_the_pool(world):
    pool = [await featurize(world, world.backbone, shard.regions, [shard]) for shard in world.shards]
    assert [(one.count, one.dimension) for one in pool] == [(32, 320), (48, 320)]
    whole = np.concatenate([matrix(world, one) for one in pool])
    rgb = images.decode_rgb(world.objects[world.items[0].image.sha256], "")
    expected = Predictor(world.network).features(np.ascontiguousarray(rgb[12:24, 16:32])).mean(axis=(1, 2))
    close(whole[5], expected)
    chosen = tables.write(
        schemas.SELECTION,
        {
            "rank": np.arange(3),
            "image_id": ["im4", "im0", "im4"],
            "region_id": [15, 5, 2],
            "score": np.zeros(3, np.float32),
            "cluster": np.zeros(3, np.int32),
        },
    )
    some = await featurize(world, world.model, world.write(chosen, ""), world.shards)
    close(matrix(world, some), whole[[79, 5, 66]])  # same weights, other company in the batch
    targets = tables.read(schemas.TARGETS, world.objects[some.targets.sha256], "")
    assert list(targets["image_id"]) == ["im4", "im0", "im4"]
    in_context = await featurize(world, world.model, world.write(chosen, ""), world.shards, "image")
    assert matrix(world, in_context).shape == (3, 320)
    assert np.abs(matrix(world, in_context) - matrix(world, some)).max() > 0.1


async def test_embedder_names_what_is_wrong(world):
    with pytest.raises(BadInput, match=r"region 0 of image im2 is in none of the shards"):
        await featurize(world, world.model, world.shards[1].regions, world.shards[:1])
    with pytest.raises(BadInput, match=r"targets: neither"):
        await featurize(world, world.model, world.shards[0].maps, world.shards)
    with pytest.raises(BadInput, match=r"shards: empty"):
        await featurize(world, world.model, world.shards[0].regions, [])
    bad = weights.save({"x": np.zeros(3, np.float32)})
    request = ProjectRequest(projection=world.write(bad, ""), shards=[])
    with pytest.raises(BadInput, match=r"holds no fitted projection"):
        await embedder.project(request, world)
    wrong = ModelRef(architecture=ARCHITECTURE, classes=CLASSES + 1, weights=world.model.weights)
    with pytest.raises(BadInput, match=r"head"):
        await featurize(world, wrong, world.shards[0].regions, world.shards)


@pytest.mark.parametrize(
    ("name", "parameters", "dimension"),
    [("none", "{}", 320), ("pca", '{"dimensions":3}', 3), ("umap", '{"epochs":20,"neighbors":5}', 2)],
)
async def test_projections_are_stored_as_arrays_and_ignore_shard_order(world, name, parameters, dimension):
    made = [await featurize(world, world.model, shard.regions, [shard]) for shard in world.shards]
    shards = [FeatureShard(features=one.features, targets=one.targets) for one in made]
    axis = AxisValue(name=name, parameters=parameters)
    fitted = await embedder.fit(FitRequest(shards=shards, projection=axis, seed=5), world)
    assert fitted == await embedder.fit(FitRequest(shards=shards[::-1], projection=axis, seed=5), world)
    table = tables.read(schemas.embedding(dimension), world.objects[fitted.embedding.sha256], "")
    assert list(table["image_id"][::16]) == [f"im{index}" for index in range(5)]
    request = ProjectRequest(projection=fitted.projection, shards=shards, seed=6)
    projected = await embedder.project(request, world)
    request = ProjectRequest(projection=fitted.projection, shards=shards[::-1], seed=6)
    assert projected == await embedder.project(request, world)
    assert "projection" in weights.load(world.objects[fitted.projection.sha256], "")
    if name != "umap":
        assert projected.embedding == fitted.embedding


def stages(*given):
    return [AxisValue(name=name, parameters=parameters) for name, parameters in given]


def rows(store, response):
    table = tables.read(schemas.SELECTION, store.objects[response.selection.sha256], "")
    assert table["rank"].tolist() == list(range(response.count))
    return list(zip(table["image_id"].tolist(), table["region_id"].tolist(), strict=True)), table


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
    one.shards.append(cut(world, 0, 5))
    one.scores.extend(await score_all(world, one.shards, "entropy_mean"))
    assert (await selector.select(one, world)).selection_sha256 == chosen.selection_sha256


def ledger_of(regions):
    n = len(regions)
    text = ("query", "answer_bucket", "answer_key", "answer_sha256", "answer_media_type", "oracle", "event_id")
    columns = {name: ["x"] * n for name in text}
    columns |= {"image_id": [image for image, _ in regions], "region_id": [region for _, region in regions]}
    columns |= {name: [value] * n for name, value in schemas.ADDED.items()}
    columns["classes"] = [[0]] * n
    for name in schemas.LEDGER.names:
        columns.setdefault(name, np.zeros(n, np.int64))
    return columns


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
    # im0 (0 s) and im3 (3 s) are labelled: nothing within 1.5 s of them but nobody.
    del request.constraints[:]
    far, _ = rows(world, await selector.select(request, world))
    distance = {key: min(((x[at] - x[place[one]]) ** 2).sum() for one in done) for key, at in place.items()}
    assert far[0] == max((key for key in place if key not in done), key=distance.__getitem__)
    assert not chosen
    # In shards of another cut, in another order, the choice is the same.
    request.budget.amount = 9
    before = await selector.select(request, world)
    del request.shards[:]
    request.shards.extend([cut(world, 3, 5), cut(world, 0, 1), cut(world, 1, 3)])
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


def test_parents_import_no_heavy_library():
    code = (
        "import sys, services.scorer.handler, services.embedder.handler, services.selector.handler\n"
        "print([m for m in ('numba', 'torch', 'umap', 'sklearn', 'cv2', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
