"""Superpixels through the recipe, the job key and the partitioner."""

import json

import numpy as np
import pytest

from memory_blobs import MemoryBlobs, served
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, tables
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.loop.reading import from_canonical, parse
from tessera.pb.common_pb2 import ImageRange
from tessera.pb.partitioner_pb2 import PartitionRequest
from tessera.regions import implementation, partition
from tessera.runtime.catalogue import job_key
from unit.loop.simulator import mapping

handler = served("partitioner")

STREET = mapping("street_random")


def recipe(**choice):
    return parse({**STREET, "partition": {"name": "seeds", "count": 192, "levels": 5, **choice}})


def request(of, manifest=None):
    return PartitionRequest(
        manifest=manifest, images=ImageRange(split="train", start=0, end=2), partition=of.partition.message()
    )


def test_a_recipe_names_the_library_and_keeps_it():
    made = recipe()
    assert made.partition.parameters["count"] == 192
    assert made.partition.parameters["implementation"].startswith("1/opencv-")
    assert from_canonical(made.canonical()) == made


def test_two_machines_with_different_opencv_share_no_maps(monkeypatch):
    keys = []
    for version in ("5.0.0", "4.12.0", "5.0.0"):
        monkeypatch.setattr(implementation, "installed", lambda *names, version=version: version)
        keys.append(job_key("Partition", request(recipe())))
    assert keys[0] == keys[2] != keys[1]
    monkeypatch.setattr("tessera.regions.methods.seeds.METHOD", 2)
    assert job_key("Partition", request(recipe())) != keys[0], "nor do two versions of the method"


@pytest.fixture
def world():
    store = MemoryBlobs()
    rng = np.random.default_rng(0)
    items = []
    for index, (height, width) in enumerate([(64, 96), (64, 96)]):
        image = store.write(images.encode_png(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)), "image/png")
        items.append(ImageItem(f"im{index}", image, width, height, "s", float(index)))
    dataset = DatasetManifest("toy", (ClassInfo("a", (0, 0, 0)),), {"train": tuple(items)})
    store.manifest = store.write(manifests.dataset_to_json(dataset), "application/json")
    store.items = items
    return store


@pytest.mark.parametrize("choice", [{"count": 24, "levels": 3}, {"count": None, "size": 16}])
async def test_the_partitioner_stores_what_the_method_cuts(world, choice):
    asked = request(recipe(**choice), world.manifest)
    response = await handler.partition(asked, world)
    maps = tables.read(schemas.MAPS, world.objects[response.shard.maps.sha256], "maps")
    regions = tables.read(schemas.REGIONS, world.objects[response.shard.regions.sha256], "regions")
    counts = []
    for index, item in enumerate(world.items):
        rgb = images.decode_rgb(world.objects[item.image.sha256], item.image_id)
        expected = partition("seeds", asked.partition.parameters, rgb)
        assert (images.decode_map(world.objects[maps["sha256"][index]], "map") == expected).all()
        counts.append(int(expected.max()) + 1)
    assert response.shard.region_count == sum(counts) == len(regions["region_id"])


async def test_a_request_that_names_no_implementation_is_refused(world):
    """Its job key would not tell one library from another."""
    asked = request(recipe(), world.manifest)
    asked.partition.parameters = '{"count":24,"levels":3}'
    with pytest.raises(BadInput, match=r"the request names no implementation; write implementation: 1/opencv-"):
        await handler.partition(asked, world)


async def test_a_partitioner_with_another_opencv_refuses(world):
    asked = request(recipe(), world.manifest)
    parameters = {**json.loads(asked.partition.parameters), "implementation": "1/opencv-4.9.0"}
    asked.partition.parameters = json.dumps(parameters)
    with pytest.raises(BadInput, match=r"opencv-4\.9\.0"):
        await handler.partition(asked, world)
