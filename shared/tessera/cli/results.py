"""Write a run's results into ``OUT``: selections, ledger and summary after every round, the report at the end."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.cli.processes import write_atomically

if TYPE_CHECKING:
    from tessera.pb.runs_pb2 import RoundView, RunView
    from tessera.runtime.objects import ObjectStore

LIBRARIES = (
    "tessera-al",
    "numpy",
    "torch",
    "numba",
    "umap-learn",
    "scikit-learn",
    "scipy",
    "opencv-contrib-python-headless",
    "scikit-image",
)


class Results:
    """Writes a run's folder as its rounds finish; existing files are written again with equal content."""

    def __init__(self, out: Path, store: ObjectStore) -> None:
        self.out = out
        self.store = store
        self._written: dict[int, str] = {}
        self._images: dict[int, list[str]] = {}
        self._ledgers: dict[int, dict[str, Any]] = {}
        # Labels that came with images which joined in a round.
        self._given: dict[int, dict[str, Any]] = {}
        self._batches: dict[int, dict[str, Any]] = {}
        self._sequences: tuple[str, dict[str, str]] | None = None

    async def update(self, view: RunView) -> list[RoundView]:
        """Write the rounds finished since the last call, and return them."""
        fresh = []
        for entry in view.rounds:
            if entry.complete and self._written.get(entry.round) != entry.selection_sha256:
                await self._write_selection(entry)
                fresh.append(entry)
        if fresh:
            await self._write_ledger(view, fresh)
            for entry in fresh:
                self._batches[entry.round] = await self._batch(view, entry)
            self.write_summary(view)
        return fresh

    def write_summary(self, view: RunView) -> dict[str, Any]:
        """Write ``summary.json`` and return it."""
        from tessera.loop.summary import summary as summarize

        finished = [entry for entry in view.rounds if entry.complete]
        shown = type(view)()
        shown.CopyFrom(view)
        del shown.rounds[:]
        shown.rounds.extend(finished)
        images = [self._images[entry.round] for entry in finished]
        summary = summarize(shown, images, versions(), self._batches)
        write_atomically(self.out / "summary.json", json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")
        return summary

    async def _write_selection(self, entry: RoundView) -> None:
        from tessera.formats import tables
        from tessera.formats.schemas import SELECTION

        name = f"round_{entry.round:02d}.parquet"
        content = await self.store.get(entry.selection)
        self._images[entry.round] = sorted(set(tables.read(SELECTION, content, name)["image_id"]))
        write_atomically(self.out / "selections" / name, content)
        self._written[entry.round] = entry.selection_sha256

    async def _write_ledger(self, view: RunView, fresh: list[RoundView]) -> None:
        """Write ``ledger.parquet``: every answer of the run so far, so that any cost can be counted again."""
        from tessera.formats import tables
        from tessera.formats.schemas import PEOPLE, PEOPLE_LEDGER, RUN_LEDGER, RUN_PEOPLE_LEDGER
        from tessera.loop.reading import from_canonical

        for entry in fresh:
            self._ledgers[entry.round] = tables.read(PEOPLE_LEDGER, await self.store.get(entry.ledger), "ledger")
            if entry.HasField("given"):
                given = tables.read(PEOPLE_LEDGER, await self.store.get(entry.given), "given")
                self._given[entry.round] = given
                self._images[entry.round] = sorted({*self._images[entry.round], *map(str, given["image_id"])})
        kinds = (self._given, self._ledgers)
        rows = tables.concat([kind[at] for at in sorted(self._ledgers) for kind in kinds if at in kind])
        partition = from_canonical(view.spec.recipe).partition.message()
        same = {"run": view.spec.run_id, "partition": f'{{"{partition.name}":{partition.parameters}}}'}
        whole = rows | {name: [value] * len(rows["event_id"]) for name, value in same.items()}
        by_people = any(rows["annotator"])
        if not by_people:
            whole = {name: column for name, column in whole.items() if name not in PEOPLE}
        content = tables.write(RUN_PEOPLE_LEDGER if by_people else RUN_LEDGER, whole)
        write_atomically(self.out / "ledger.parquet", content)

    async def _batch(self, view: RunView, entry: RoundView) -> dict[str, Any]:
        """Return the batch diagnostics of one round for the summary."""
        from tessera.formats import manifests, tables
        from tessera.loop import batch
        from tessera.loop.view import manifest_of

        reference = manifest_of(view)
        if self._sequences is None or self._sequences[0] != reference.sha256:
            manifest = manifests.dataset_from_json(await self.store.get(reference))
            self._sequences = reference.sha256, {item.image_id: item.sequence for item in manifest.split("train")}
        embedding = None
        if entry.HasField("embedding"):
            embedding = tables.read_scores(await self.store.get(entry.embedding), "embedding")
        before = [batch.regions_of(ledger) for round_, ledger in self._ledgers.items() if round_ < entry.round]
        before += [batch.regions_of(ledger) for round_, ledger in self._given.items() if round_ <= entry.round]
        earlier = {region for regions in before for region in regions}
        ledger, classes = self._ledgers[entry.round], len(view.spec.class_names)
        return batch.figures(ledger, self._sequences[1], classes, embedding, earlier)

    async def finish(self, view: RunView) -> Mapping[str, Any]:
        """Write summary and report of a finished run; returns the summary."""
        from tessera.cli.pictures import write_report

        await self.update(view)
        summary = self.write_summary(view)
        await write_report(self.out, self.store, view, summary)
        return summary


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
