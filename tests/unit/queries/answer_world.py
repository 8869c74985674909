"""Three small images with labels on a store that is a dictionary, and requests to partition and to answer."""

import numpy as np
import pytest

from artefacts import selection
from memory_blobs import MemoryBlobs
from services.partitioner.compute import partition
from tessera.formats import images, manifests
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem, LabelManifest
from tessera.pb.common_pb2 import AxisValue, ImageRange, JobContext
from tessera.pb.oracle_pb2 import AnswerRequest
from tessera.pb.partitioner_pb2 import PartitionRequest

SIZES = [(10, 12), (10, 12), (9, 7)]


@pytest.fixture
def world():
    store = MemoryBlobs()
    rng = np.random.default_rng(0)
    items, labels = [], {}
    for index, (height, width) in enumerate(SIZES):
        rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), (height, width))
        image = store.write(images.encode_png(rgb), "image/png")
        items.append(ImageItem(f"im{index}", image, width, height, "s", float(index)))
        labels[f"im{index}"] = store.write(images.encode_png(truth), "image/png")
    classes = tuple(ClassInfo(f"c{i}", (i, i, i)) for i in range(3))
    manifest = DatasetManifest("toy", classes, {"train": tuple(items)})
    store.manifest = store.write(manifests.dataset_to_json(manifest), "application/json")
    store.labels = store.write(manifests.labels_to_json(LabelManifest("train", labels)), "application/json")
    store.truth = {key: images.decode_labels(store.objects[ref.sha256], key) for key, ref in labels.items()}
    store.items = items
    return store


def partition_request(world, start=0, end=3, name="grid", parameters='{"cols":2,"rows":2}'):
    return PartitionRequest(
        manifest=world.manifest,
        images=ImageRange(split="train", start=start, end=end),
        partition=AxisValue(name=name, parameters=parameters),
    )


def cut(world, start=0, end=3, name="grid", parameters='{"cols":2,"rows":2}'):
    return partition(partition_request(world, start, end, name, parameters), world)


def answer_request(world, chosen, shards, seed=3):
    return AnswerRequest(
        context=JobContext(round=1),
        manifest=world.manifest,
        shards=shards,
        selection=selection(world, chosen),
        labels=world.labels,
        query=AxisValue(name="mask", parameters="{}"),
        oracle=AxisValue(name="simulated", parameters="{}"),
        seed=seed,
    )
