"""From a training that leaves a memory bank to regions in the space that is fitted on it, handlers and all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from artefacts import grid_shard
from memory_blobs import MemoryBlobs, served
from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import RegionImage
from tessera.errors import BadInput
from tessera.formats import checkpoints, images, manifests, predictors, schemas, tables, weights
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.models.predictor import Predictor
from tessera.pb.common_pb2 import AxisValue, ModelRef
from tessera.pb.embedder_pb2 import FeatureShard, FeaturizeRequest, FitRequest, ProjectRequest
from tessera.pb.trainer_pb2 import TrainRequest
from tessera.regions import partition, region_table
from tessera.training.memory_bank import hardest_correct

embedder = served("embedder")
train = served("trainer").train

ARCHITECTURE = AxisValue(
    name="deeplabv3plus_mobilenetv2", parameters=json.dumps({"width": 0.125, "projection_head": 8, "dropout": 0})
)
HEIGHT, WIDTH, CLASSES, IMAGES = 32, 48, 3, 3
CHANNELS = {"projection": 8, "decoder": 32, "aspp": 32, "backbone": 40}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world():
    """Images of two classes, the upper and the lower half, cut 4×4 and all answered."""
    store = MemoryBlobs()
    rng = np.random.default_rng(0)
    region_map = partition("grid", {"rows": 4, "cols": 4}, (HEIGHT, WIDTH))
    table = region_table(region_map)
    truth = (np.indices((HEIGHT, WIDTH))[0] >= HEIGHT // 2).astype(np.uint8)
    items, ledger = [], {name: [] for name in schemas.LEDGER.names}
    for index in range(IMAGES):
        rgb = (truth[..., None] * 150 + rng.integers(0, 60, (HEIGHT, WIDTH, 3))).astype(np.uint8)
        items.append(ImageItem(f"im{index}", store.write(images.encode_png(rgb)), WIDTH, HEIGHT, "s", 0.0))
        for region, (y0, x0, y1, x1) in enumerate(table.boxes.tolist()):
            answer = store.write(images.encode_png(truth[y0:y1, x0:x1]))
            row = {"round": 0, "image_id": f"im{index}", "region_id": region, "query": "mask", "classes": [0]}
            row |= {f"answer_{part}": getattr(answer, part) for part in ("bucket", "key", "sha256", "size")}
            row |= {"answer_media_type": "image/png", "y0": y0, "x0": x0, "y1": y1, "x1": x1, "pixels": 1, "clicks": 1}
            row |= {"clicks_without_undefined": 1, "seconds": 1.0, "oracle": "o", "seed": 0}
            row |= {"event_id": f"{index}/{region}"}
            for field in schemas.LEDGER:
                ledger[field.name].append(row.get(field.name, "" if field.type == "string" else 0))
    store.truth, store.items = truth, items
    store.ledger = store.write(tables.write(schemas.LEDGER, ledger))
    classes = tuple(ClassInfo(f"c{i}", (i, i, i)) for i in range(CLASSES))
    store.manifest = store.write(
        manifests.dataset_to_json(DatasetManifest("toy", classes, {"train": tuple(items), "val": (), "test": ()}))
    )
    store.shard = grid_shard(store, 0, IMAGES)
    return store


async def trained(store, tap, **bank):
    settings = {"epochs": 4, "batch": 4, "frozen": False, "backbone_norm": "train", "view": "images", "lr": 0.01}
    settings |= {"memory_bank": {"tap": tap, **bank}, "precision": "float32"}
    request = TrainRequest(
        manifest=store.manifest,
        ledgers=[store.ledger],
        shards=[store.shard],
        architecture=ARCHITECTURE,
        classes=CLASSES,
        training=AxisValue(name="supervised", parameters=json.dumps(settings)),
        checkpoint_policy="last",
        seed=4,
    )
    return await train(request, store)


def bank_of(store, response):
    return weights.load(store.objects[response.extras["memory_bank"].sha256], "bank")


async def featurized(store, model, name, parameters="{}"):
    request = FeaturizeRequest(
        manifest=store.manifest,
        model=model,
        features=AxisValue(name=name, parameters=parameters),
        targets=store.shard.regions,
        shards=[store.shard],
    )
    made = await embedder.featurize(request, store)
    return FeatureShard(features=made.features, targets=made.targets), made.dimension


def fit_request(response, name="pca", parameters='{"dimensions":2}'):
    axis = AxisValue(name=name, parameters=parameters)
    return FitRequest(bank=response.extras["memory_bank"], projection=axis, seed=3)


@pytest.mark.parametrize("tap", ["projection", "decoder", "aspp", "backbone"])
async def test_a_bank_holds_the_kept_models_own_pixels_in_the_space_of_the_features(world, tap):
    response = await trained(world, tap, per_image=3)
    bank = bank_of(world, response)
    network = checkpoints.build_model(
        ARCHITECTURE, CLASSES, world.objects[response.model.weights.sha256], "the trained model"
    )
    predictor = Predictor(network)
    expected, deep = {0: [], 1: [], 2: []}, tap in ("aspp", "backbone")
    for item in world.items:
        taps = predictor.taps(images.decode_rgb(world.objects[item.image.sha256], ""), (tap, "logits"))
        logits, truth = taps["logits"], world.truth[2::4, 2::4]
        if deep:
            full = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=(2, 3), mode="bilinear")
            logits, truth = full[0].numpy(), world.truth[8::16, 8::16]
        for label, cells in hardest_correct(logits, truth, 3).items():
            expected[label] += taps[tap].reshape(len(taps[tap]), -1)[:, cells].T.tolist()
    assert bank["vectors"].tolist() == [row for rows in expected.values() for row in rows]
    assert bank["classes"].tolist() == [label for label, rows in expected.items() for _ in rows]
    assert bank["vectors"].shape[1] == CHANNELS[tap]
    assert len(bank["vectors"]) > 3, "the test needs pixels that the model gets right"
    assert (await trained(world, tap, per_image=3)).extras == response.extras
    shard, dimension = await featurized(
        world, response.model, tap, '{"context":"image"}' if tap == "backbone" else "{}"
    )
    assert dimension == CHANNELS[tap]
    made = await embedder.fit(fit_request(response), world)
    assert not made.HasField("embedding")
    placed = await embedder.project(ProjectRequest(projection=made.projection, shards=[shard], seed=5), world)
    table = tables.read_scores(world.objects[placed.embedding.sha256])
    centred = weights.load(world.objects[shard.features.sha256], "")["features"] - bank["vectors"].mean(axis=0)
    _, _, axes = np.linalg.svd(bank["vectors"] - bank["vectors"].mean(axis=0), full_matrices=False)
    points = np.stack([table["x0"], table["x1"]], axis=1)
    np.testing.assert_allclose(np.abs(points[:, 0]), np.abs(centred @ axes[0]), rtol=1e-2, atol=1e-3)


async def test_umap_of_a_bank_in_many_dimensions(world):
    response = await trained(world, "decoder")
    request = fit_request(response, "umap", '{"dimensions":5,"epochs":20}')
    made = await embedder.fit(request, world)
    assert (await embedder.fit(request, world)).projection.sha256 == made.projection.sha256
    shard, _ = await featurized(world, response.model, "decoder")
    project = ProjectRequest(projection=made.projection, shards=[shard], seed=5)
    placed = await embedder.project(project, world)
    table = tables.read_scores(world.objects[placed.embedding.sha256])
    assert list(table)[2:] == [f"x{axis}" for axis in range(5)]
    assert all(np.isfinite(table[f"x{axis}"]).all() for axis in range(5))
    assert (await embedder.project(project, world)).embedding.sha256 == placed.embedding.sha256


async def test_without_the_option_there_is_no_bank(world):
    request = TrainRequest(
        manifest=world.manifest,
        ledgers=[world.ledger],
        shards=[world.shard],
        architecture=ARCHITECTURE,
        classes=CLASSES,
        training=AxisValue(name="supervised", parameters='{"epochs":1}'),
        seed=4,
    )
    assert not (await train(request, world)).extras


async def test_what_cannot_be_fitted_is_named(world):
    response = await trained(world, "projection")
    both = fit_request(response)
    both.shards.append(FeatureShard(features=world.manifest, targets=world.manifest))
    with pytest.raises(BadInput, match="shards and a bank"):
        await embedder.fit(both, world)
    for vectors, message in ((np.zeros((0, 4), np.float32), "got no labelled pixel right"), (None, "holds no vectors")):
        tensors = {"classes": np.zeros(0, np.int32)} | ({} if vectors is None else {"vectors": vectors})
        request = FitRequest(bank=world.write(weights.save(tensors)), projection=fit_request(response).projection)
        with pytest.raises(BadInput, match=message):
            await embedder.fit(request, world)
    alone = ModelRef(architecture=ARCHITECTURE, classes=0, weights=response.model.weights)
    with pytest.raises(BadInput, match="a backbone without a head, and features decoder come from a trained"):
        await featurized(world, alone, "decoder")
    without = AxisValue(name=ARCHITECTURE.name, parameters='{"width":0.125}')
    from tessera import models

    plain = world.write(checkpoints.dump_model(models.build(without.name, without.parameters, CLASSES)))
    with pytest.raises(BadInput, match="no projection map"):
        await featurized(world, ModelRef(architecture=without, classes=CLASSES, weights=plain), "projection")


@pytest.mark.parametrize("name", ["aspp", "decoder", "projection", "badge", "softmax_histogram"])
async def test_features_do_not_depend_on_shards_or_company(world, name):
    response = await trained(world, "decoder")
    shard, dimension = await featurized(world, response.model, name)
    features = weights.load(world.objects[shard.features.sha256], "")["features"]
    assert features.shape == (48, dimension)
    assert np.isfinite(features).all()
    some = {"image_id": ["im2", "im0", "im2"], "region_id": np.array([3, 7, 12], np.int32)}
    request = FeaturizeRequest(
        manifest=world.manifest,
        model=response.model,
        features=AxisValue(name=name, parameters="{}"),
        targets=world.write(tables.write(schemas.TARGETS, some)),
        shards=[world.shard],
    )
    made = await embedder.featurize(request, world)
    alone = weights.load(world.objects[made.features.sha256], "")["features"]
    assert np.array_equal(alone, features[[35, 7, 44]])


async def test_a_frozen_backbone_runs_once_an_image_while_heads_come_and_go(world, monkeypatch):
    monkeypatch.setattr(predictors, "_cache", predictors.CountLimitedLRU(2))
    monkeypatch.setattr(predictors, "_backbone_maps", predictors.BackboneMaps())
    response = await trained(world, "decoder")
    state = weights.load(world.objects[response.model.weights.sha256], "")
    rgb = images.decode_rgb(world.objects[world.items[1].image.sha256], "")
    labels = partition("grid", {"rows": 4, "cols": 4}, (HEIGHT, WIDTH))
    given = RegionImage(rgb, np.arange(16, dtype=np.int32), region_table(labels).boxes, labels)
    runs: list[Predictor] = []
    image_maps = Predictor.image_maps

    def counted(self, rgb):
        runs.append(self)
        return image_maps(self, rgb)

    per_model = []
    for scale in (1.0, 2.0, 3.0):
        head = {**state, "head.classifier.weight": np.float32(scale) * state["head.classifier.weight"]}
        data = weights.save(head)
        model = ModelRef(architecture=ARCHITECTURE, classes=CLASSES, weights=world.write(data))
        fresh = Predictor(checkpoints.build_model(ARCHITECTURE, CLASSES, data, "m"))
        runs.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Predictor, "image_maps", counted)
            shards = {
                name: await featurized(world, model, name, parameters)
                for name, parameters in (("badge", "{}"), ("backbone", '{"context":"image"}'))
            }
        per_model.append(len(runs))
        for name, (shard, _) in shards.items():
            parameters = FEATURES.parameters(name, {"context": "image"} if name == "backbone" else {})
            expected = FEATURES.entry(name).function(fresh, given, parameters)
            assert np.array_equal(weights.load(world.objects[shard.features.sha256], "")["features"][16:32], expected)
    assert per_model == [IMAGES, 0, 0]
