"""Scorer and embedder, handler and compute together, on a store that is a dictionary."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from artefacts import grid_shard
from memory_blobs import served
from tessera.acquisition.scoring.region_draws import region_uniform
from tessera.errors import BadInput
from tessera.formats import images, schemas, tables, weights
from tessera.models.predictor import Predictor
from tessera.pb.common_pb2 import AxisValue, ModelRef, RegionShard
from tessera.pb.embedder_pb2 import FeatureShard, FitRequest, ProjectRequest
from unit.acquisition.services.service_world import (
    ARCHITECTURE,
    CLASSES,
    HEIGHT,
    WIDTH,
    featurize,
    read_all,
    request_score,
    score_all,
    world,
)

embedder = served("embedder")
scorer = served("scorer")

__all__ = ["world"]


async def test_scores_do_not_depend_on_sharding_and_are_those_of_the_model(world):
    names = ("entropy_mean", "random_mean")
    whole = read_all(world, await score_all(world, [grid_shard(world, 0, 5)], *names))
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
    with pytest.raises(BadInput, match=r"im0 is 64×48 pixels and its region map 4×4"):
        await scorer.score(request_score(world, shard, "entropy_mean"), world)


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


def test_parents_import_no_heavy_library():
    code = (
        "import sys, services.scorer.handler, services.embedder.handler, services.selector.handler\n"
        "print([m for m in ('numba', 'torch', 'umap', 'sklearn', 'cv2', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
