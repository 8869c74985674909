"""A small set in a store that is a dictionary, and requests to scorer, embedder and selector about it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from artefacts import grid_shard
from memory_blobs import MemoryBlobs, served
from tessera import models
from tessera.formats import checkpoints, images, manifests, schemas, tables, weights
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.pb.common_pb2 import AxisValue, ModelRef
from tessera.pb.embedder_pb2 import FeaturizeRequest
from tessera.pb.scorer_pb2 import ScoreColumn, ScoreRequest

embedder = served("embedder")
scorer = served("scorer")

ARCHITECTURE = AxisValue(name="deeplabv3plus_mobilenetv2", parameters="{}")
HEIGHT, WIDTH, IMAGES, CLASSES = 48, 64, 5, 4


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
    """A store with five random pictures, a model that knows them, its backbone alone, and two shards of grids."""
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
    store.shards = [grid_shard(store, 0, 2), grid_shard(store, 2, 5)]
    return store


def columns(*names):
    """Score columns by their names, as in "entropy_mean"."""
    return [
        ScoreColumn(
            column=name,
            score=AxisValue(name=name.split("_")[0], parameters="{}"),
            aggregation=AxisValue(name=name.split("_")[1], parameters="{}"),
        )
        for name in names
    ]


def request_score(store, shard, *names, model=True):
    """A request for these columns of a shard."""
    return ScoreRequest(
        manifest=store.manifest,
        shard=shard,
        model=store.model if model else None,
        columns=columns(*names),
        seed=9,
    )


async def score_all(store, shards, *names):
    """A score table of each shard."""
    return [(await scorer.score(request_score(store, shard, *names), store)).scores for shard in shards]


def read_all(store, refs):
    """The rows of all these score tables, in this order."""
    return tables.concat([tables.read_scores(store.objects[ref.sha256]) for ref in refs])


async def featurize(store, model, targets, shards, context="crop"):
    """Features of the targets, regions of these shards."""
    features = AxisValue(name="backbone", parameters=f'{{"context":"{context}"}}')
    request = FeaturizeRequest(manifest=store.manifest, model=model, features=features, targets=targets, shards=shards)
    return await embedder.featurize(request, store)


def stages(*given):
    """Stages or constraints, each a name and its parameters."""
    return [AxisValue(name=name, parameters=parameters) for name, parameters in given]


def rows(store, response):
    """The regions that a selection names, in rank order, and its whole table."""
    table = tables.read(schemas.SELECTION, store.objects[response.selection.sha256], "")
    assert table["rank"].tolist() == list(range(response.count))
    return list(zip(table["image_id"].tolist(), table["region_id"].tolist(), strict=True)), table


def ledger_of(regions):
    """The columns of a ledger in which these regions are answered."""
    n = len(regions)
    text = ("query", "answer_bucket", "answer_key", "answer_sha256", "answer_media_type", "oracle", "event_id")
    columns = {name: ["x"] * n for name in text}
    columns |= {"image_id": [image for image, _ in regions], "region_id": [region for _, region in regions]}
    columns |= {name: [value] * n for name, value in schemas.ADDED.items()}
    columns["classes"] = [[0]] * n
    for name in schemas.LEDGER.names:
        columns.setdefault(name, np.zeros(n, np.int64))
    return columns
