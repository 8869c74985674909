"""Look-ups in the tables of region shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tessera.formats import schemas, tables
from tessera.pb.common_pb2 import ObjectRef, RegionShard


def split_of(shards: Sequence[RegionShard]) -> str:
    """Return the split that shards are of; train without any."""
    return next((shard.images.split for shard in shards), "train")


def map_refs(shards: Iterable[RegionShard], read: Callable[[ObjectRef], bytes]) -> dict[str, ObjectRef]:
    """Return the reference of every image's region map, by image id."""
    refs: dict[str, ObjectRef] = {}
    for shard in shards:
        table = tables.read(schemas.MAPS, read(shard.maps), "region map table")
        for row, image_id in enumerate(table["image_id"]):
            refs[str(image_id)] = ObjectRef(
                bucket=str(table["bucket"][row]),
                key=str(table["key"][row]),
                sha256=str(table["sha256"][row]),
                size=int(table["size"][row]),
                media_type=str(table["media_type"][row]),
            )
    return refs
