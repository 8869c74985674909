"""Artefacts of one service, written for tests of another as the service would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memory_blobs import MemoryBlobs
from tessera.formats import images, schemas, tables
from tessera.pb.common_pb2 import ImageRange, ObjectRef, RegionShard
from tessera.regions import partition, region_table


def grid_shard(store: MemoryBlobs, start: int, end: int, rows: int = 4, cols: int = 4) -> RegionShard:
    """The store's images from ``start`` to ``end``, all of one size, cut into grids."""
    height, width = store.items[start].height, store.items[start].width
    region_map = partition("grid", {"rows": rows, "cols": cols}, (height, width))
    table, count = region_table(region_map), rows * cols
    ref = store.write(images.encode_png(region_map.astype(np.uint8)), "image/png")
    ids = [item.image_id for item in store.items[start:end]]
    columns: dict[str, object] = {
        "image_id": [image_id for image_id in ids for _ in range(count)],
        "region_id": np.tile(np.arange(count, dtype=np.int32), len(ids)),
        "pixels": np.tile(table.pixels, len(ids)),
    }
    for axis, name in enumerate(("y0", "x0", "y1", "x1")):
        columns[name] = np.tile(table.boxes[:, axis], len(ids))
    maps = {"image_id": ids, "height": [height] * len(ids), "width": [width] * len(ids)}
    maps |= {name: [getattr(ref, name)] * len(ids) for name in ("bucket", "key", "sha256", "size", "media_type")}
    return RegionShard(
        images=ImageRange(split="train", start=start, end=end),
        regions=store.write(tables.write(schemas.REGIONS, columns)),
        maps=store.write(tables.write(schemas.MAPS, maps)),
        region_count=count * len(ids),
    )


def selection(store: MemoryBlobs, chosen: Sequence[tuple[str, int]]) -> ObjectRef:
    """The selector's table of (image, region), in rank order, chosen without a score or a cluster."""
    columns = {
        "rank": list(range(len(chosen))),
        "image_id": [image for image, _ in chosen],
        "region_id": [region for _, region in chosen],
        "score": [float("nan")] * len(chosen),
        "cluster": [-1] * len(chosen),
    }
    return store.write(tables.write(schemas.SELECTION, columns))
