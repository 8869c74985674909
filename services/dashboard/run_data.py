"""What the pages show of runs: from the coordinator, the object store and the dead letters, kept for as long as it is
true."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.dashboard.prediction import Predictions
from tessera.errors import BadInput
from tessera.formats import manifests, schemas, tables
from tessera.loop.summary import summary as summarize
from tessera.loop.view import manifest_of
from tessera.lru import CountLimitedLRU
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.runs_pb2 import RoundView, RunView
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.objects import ObjectStore
from tessera.runtime.pool_images import PoolImages
from tessera.runtime.runs_client import RunsClient
from tessera.runtime.settings import Settings

Columns = Mapping[str, Any]


class RunData:
    """Reads runs; everything that is named by its content is read once."""

    def __init__(
        self, runs: RunsClient, store: ObjectStore, letters: DeadLetters, settings: Settings | None = None
    ) -> None:
        self.runs, self.store, self.letters = runs, store, letters
        self._tables: CountLimitedLRU[str, Columns] = CountLimitedLRU(64)
        self._images: CountLimitedLRU[str, tuple[str, ...]] = CountLimitedLRU(4096)
        self._manifests: CountLimitedLRU[str, manifests.DatasetManifest] = CountLimitedLRU(8)
        self.predictions = Predictions(settings)
        self._pools: CountLimitedLRU[str, PoolImages] = CountLimitedLRU(8)

    async def summary(self, view: RunView) -> dict[str, Any]:
        """Return the run as ``summary.json`` has it, of its complete rounds."""
        shown = RunView()
        shown.CopyFrom(view)
        del shown.rounds[:]
        shown.rounds.extend(entry for entry in view.rounds if entry.complete)
        images = [await self._images_of(entry) for entry in shown.rounds]
        return summarize(shown, images, {})

    async def table(self, schema: Any, ref: ObjectRef, what: str) -> Columns:
        """Return a table of the store as columns."""
        kept = self._tables.get(ref.sha256)
        if kept is None:
            kept = await asyncio.to_thread(tables.read, schema, await self.store.get(ref), what)
            self._tables.put(ref.sha256, kept)
        return kept

    async def chosen(self, entry: RoundView) -> list[tuple[str, dict[int, int]]]:
        """Return the images of a round with region → rank of what was chosen in each; the best rank first."""
        if not entry.HasField("selection"):
            return []
        found = await self.table(schemas.SELECTION, entry.selection, "selection")
        return await asyncio.to_thread(_by_image, found)

    async def manifest(self, view: RunView) -> manifests.DatasetManifest:
        """Return the data set of a run, without labels."""
        ref = manifest_of(view)
        kept = self._manifests.get(ref.sha256)
        if kept is None:
            kept = await asyncio.to_thread(manifests.dataset_from_json, await self.store.get(ref))
            self._manifests.put(ref.sha256, kept)
        return kept

    async def pool(self, view: RunView) -> PoolImages:
        """Return the images and region maps of a run's pool."""
        # A data set that grows has another pool then.
        run_id = f"{view.spec.run_id} {manifest_of(view).sha256}"
        kept = self._pools.get(run_id)
        if kept is None:
            whole = await self.runs.with_shards(view)
            kept = PoolImages(self.store, await self.manifest(view), whole.shards)
            if whole.shards:
                self._pools.put(run_id, kept)
        return kept

    async def _images_of(self, entry: RoundView) -> tuple[str, ...]:
        kept = self._images.get(entry.selection.sha256)
        if kept is None:
            found = await self.table(schemas.SELECTION, entry.selection, "selection")
            kept = tuple(await asyncio.to_thread(lambda: sorted(set(found["image_id"]))))
            self._images.put(entry.selection.sha256, kept)
        if entry.HasField("given"):
            came = await self.table(schemas.LEDGER, entry.given, "given")
            return tuple(sorted({*kept, *map(str, came["image_id"])}))
        return kept


def round_of(view: RunView, number: int) -> RoundView:
    """Return a round of a run; BadInput where it has none of this number."""
    for entry in view.rounds:
        if entry.round == number:
            return entry
    raise BadInput(f"round {number}: run {view.spec.run_id} has no such round yet")


def _by_image(selection: Columns) -> list[tuple[str, dict[int, int]]]:
    order = np.argsort(np.asarray(selection["rank"]), kind="stable")
    found: dict[str, dict[int, int]] = {}
    ids: Sequence[Any] = selection["image_id"]
    regions, ranks = selection["region_id"], selection["rank"]
    for row in order.tolist():
        found.setdefault(str(ids[row]), {})[int(regions[row])] = int(ranks[row])
    return list(found.items())
