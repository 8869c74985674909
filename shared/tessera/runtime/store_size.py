"""Size of the object store as ``tessera gc --delete`` found it: nobody else lists the whole store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from tessera.runtime.objects import ObjectStore

_KEY: Final = "housekeeping/size.json"
_MOST_BYTES: Final = 4096


@dataclass(frozen=True)
class StoreSize:
    """Objects and bytes that stayed, and when, in seconds since the epoch by the store's clock."""

    objects: int
    bytes: int
    time: float


async def remember(store: ObjectStore, objects: int, size: int) -> None:
    """Write down what stayed in the store; Unavailable as the store raises it."""
    await store.put(_KEY, json.dumps({"objects": objects, "bytes": size}).encode(), "application/json")


async def remembered(store: ObjectStore) -> StoreSize | None:
    """Return what was written down last; None where nothing was, or it cannot be read."""
    found = await store.read_key(_KEY, _MOST_BYTES)
    times = [one.modified for one in await store.kept(_KEY)]
    if found is None or not times:
        return None
    try:
        facts = json.loads(found)
        return StoreSize(int(facts["objects"]), int(facts["bytes"]), times[0])
    except (ValueError, KeyError, TypeError):
        return None
