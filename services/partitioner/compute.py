"""The partitioner's work in the compute child."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, tables
from tessera.formats.blobs import Blobs
from tessera.formats.manifests import ImageItem
from tessera.formats.media import PARQUET, PNG
from tessera.pb.common_pb2 import ObjectRef, RegionShard
from tessera.pb.partitioner_pb2 import PartitionRequest, PartitionResponse
from tessera.regions import PARTITIONS, RegionTable, needs_image, region_table
from tessera.regions import partition as cut


def partition(request: PartitionRequest, blobs: Blobs) -> PartitionResponse:
    """Write one region map per image (one per size, if only the size matters) and the tables REGIONS and MAPS."""
    items = manifests.dataset_from_json(blobs.read(request.manifest)).items(request.images)
    name = request.partition.name
    params = PARTITIONS.parameters(name, request.partition.parameters)
    if PARTITIONS.entry(name).traits.versioned and "implementation" not in params.model_fields_set:
        # Not filled in here, where it would be missing from the job key: machines with other libraries would share
        # these maps.
        raise BadInput(
            f"partition.{name}: the request names no implementation; write implementation: "
            f"{params.model_dump()['implementation']} into the recipe, or start the run with this version of tessera"
        )
    by_shape: dict[tuple[int, int], tuple[RegionTable, ObjectRef]] = {}
    cuts: list[tuple[ImageItem, RegionTable, ObjectRef]] = []
    for index, item in enumerate(items):
        shape = (item.height, item.width)
        if needs_image(name):
            regions, stored = _store(cut(name, params, _pixels(item, blobs)), blobs)
        else:
            if shape not in by_shape:
                by_shape[shape] = _store(cut(name, params, shape), blobs)
            regions, stored = by_shape[shape]
        cuts.append((item, regions, stored))
        blobs.progress((index + 1) / len(items), item.image_id)
    table = _regions(cuts)
    count = len(table["image_id"])
    shard = RegionShard(
        images=request.images,
        regions=blobs.write(tables.write(schemas.REGIONS, table), PARQUET),
        maps=blobs.write(tables.write(schemas.MAPS, _maps(cuts)), PARQUET),
        region_count=count,
    )
    return PartitionResponse(shard=shard, pixel_count=sum(item.height * item.width for item in items))


def _pixels(item: ImageItem, blobs: Blobs) -> NDArray[np.uint8]:
    rgb = images.decode_rgb(blobs.read(item.image), item.image_id)
    if rgb.shape[:2] != (item.height, item.width):
        raise BadInput(
            f"image {item.image_id} is {rgb.shape[1]}×{rgb.shape[0]} pixels, its manifest says "
            f"{item.width}×{item.height}; import the data set again"
        )
    return rgb


def _store(regions: NDArray[np.int32], blobs: Blobs) -> tuple[RegionTable, ObjectRef]:
    narrow = regions.astype(np.uint8) if int(regions.max()) < 256 else regions.astype(np.uint16)
    return region_table(regions), blobs.write(images.encode_png(narrow), PNG)


def _regions(cuts: list[tuple[ImageItem, RegionTable, ObjectRef]]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "image_id": [item.image_id for item, table, _ in cuts for _ in range(len(table))],
        "region_id": _join([np.arange(len(table), dtype=np.int32) for _, table, _ in cuts]),
        "pixels": _join([table.pixels for _, table, _ in cuts]),
    }
    for axis, name in enumerate(("y0", "x0", "y1", "x1")):
        columns[name] = _join([table.boxes[:, axis] for _, table, _ in cuts])
    return columns


def _join(parts: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def _maps(cuts: list[tuple[ImageItem, RegionTable, ObjectRef]]) -> dict[str, Any]:
    return {
        "image_id": [item.image_id for item, _, _ in cuts],
        "bucket": [ref.bucket for _, _, ref in cuts],
        "key": [ref.key for _, _, ref in cuts],
        "sha256": [ref.sha256 for _, _, ref in cuts],
        "size": [ref.size for _, _, ref in cuts],
        "media_type": [ref.media_type for _, _, ref in cuts],
        "height": [item.height for item, _, _ in cuts],
        "width": [item.width for item, _, _ in cuts],
    }
