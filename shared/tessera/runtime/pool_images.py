"""Images and region maps of a run's training pool, for whoever shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.formats import images, manifests, schemas, tables
from tessera.pb.common_pb2 import ObjectRef, RegionShard
from tessera.runtime.objects import ObjectStore


class PoolImages:
    """Images and region maps of the training pool; the table of a shard is fetched once."""

    def __init__(self, store: ObjectStore, manifest: manifests.DatasetManifest, shards: Sequence[RegionShard]) -> None:
        self.store = store
        self.manifest = manifest
        self._shards = shards
        self._maps: dict[str, ObjectRef] = {}
        self._items = {item.image_id: (place, item) for place, item in enumerate(manifest.split("train"))}

    def item(self, image_id: str) -> manifests.ImageItem:
        """Return an image of the pool; BadInput for one that it does not have."""
        if image_id not in self._items:
            self.manifest.by_id("train", [image_id])  # raises, and names it
        return self._items[image_id][1]

    async def rgb(self, image_id: str) -> NDArray[np.uint8]:
        """Return an image, uint8 (H, W, 3)."""
        content = await self.store.get(self.item(image_id).image)
        # Beside the event loop: a large one takes a second.
        return await asyncio.to_thread(images.decode_rgb, content, image_id)

    async def region_map(self, image_id: str) -> NDArray[np.int32]:
        """Return the region map of an image, int32 (H, W)."""
        if image_id not in self._maps:
            # The table of one shard, not of the whole pool.
            place = self._items[image_id][0]
            for shard in (one for one in self._shards if one.images.start <= place < one.images.end):
                stored = await self.store.get(shard.maps)
                table = await asyncio.to_thread(tables.read, schemas.MAPS, stored, "region maps")
                self._maps.update(zip(table["image_id"], refs(table, ""), strict=True))
        content = await self.store.get(self._maps[image_id])
        return await asyncio.to_thread(images.decode_map, content, image_id)


def refs(table: Mapping[str, Any], prefix: str) -> list[ObjectRef]:
    """Return the references in the columns ``prefix`` + bucket, key, sha256, size and media_type of a table."""
    names = ("bucket", "key", "sha256", "size", "media_type")
    columns = zip(*(table[prefix + name] for name in names), strict=True)
    return [ObjectRef(bucket=b, key=k, sha256=h, size=int(s), media_type=m) for b, k, h, s, m in columns]
