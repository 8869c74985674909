"""Gather the data of a report from the store: images with their chosen regions, answers by class, embeddings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.acquisition.diagnostics import plane
from tessera.cli.processes import write_atomically
from tessera.formats import images, manifests, schemas, tables
from tessera.loop import batch
from tessera.loop.view import manifest_of
from tessera.pb.common_pb2 import ObjectRef
from tessera.regions import outlines
from tessera.reporting import Drawing, DrawnRegion, LabelledPicture, ReportData, RoundReport, RunReport, Scatter, render
from tessera.reporting.training import Parts, by_part
from tessera.runtime.pool_images import PoolImages, refs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tessera.pb.runs_pb2 import RoundView, RunView
    from tessera.runtime.objects import ObjectStore

IMAGES_SHOWN = 4
LABELLED_SHOWN = 3
CLASSES_COUNTED = 400
"""Answers of a round that the class histogram reads; a fully supervised round has thousands."""


async def write_report(out: Path, store: ObjectStore, view: RunView, summary: Mapping[str, Any]) -> None:
    """Write ``OUT/report.html`` of one run."""
    gathered = await gather(store, view, summary)
    title = f"{summary['recipe']}, seed {summary['seed']}"
    facts = {"run": str(summary["run"]), "results": str(out)}
    write_atomically(out / "report.html", render(ReportData(title, (gathered,), facts=facts)).encode())


def write_comparison(out: Path, runs: Sequence[RunReport], facts: Mapping[str, str], over: str | None = None) -> Path:
    """Write ``OUT/report.html`` of several runs, compared at equal cost ``over``; returns its path."""
    *names, last = dict.fromkeys(run.recipe for run in runs)
    title = f"Comparison of {', '.join(names)} and {last}" if names else f"Seeds of {last}"
    data = ReportData(title, tuple(runs), facts=facts, over=over)
    write_atomically(out / "report.html", render(data).encode())
    return out / "report.html"


async def gather(store: ObjectStore, view: RunView, summary: Mapping[str, Any]) -> RunReport:
    """Return all data that the report of one run shows."""
    manifest = manifests.dataset_from_json(await store.get(manifest_of(view)))
    pool = _Pool(store, manifest, view.shards)
    labelled: set[batch.Region] = set()
    rounds = [await _round(pool, entry, labelled) for entry in view.rounds if entry.complete]
    if rounds and "pseudo_labels" in (last := [entry for entry in view.rounds if entry.complete][-1]).extras:
        rounds[-1] = replace(rounds[-1], labelled=await _labelled(pool, last.extras["pseudo_labels"]))
    return RunReport(summary, tuple(rounds), tuple(info.color for info in manifest.classes))


class _Pool(PoolImages):
    """The pool, with its embedding."""

    _embedded: NDArray[np.float64] | None = None

    async def embedded(self, entry: RoundView) -> NDArray[np.float64]:
        """Return the points of the pool that the projection was fitted on, (n, d); the same in every round."""
        if self._embedded is None:
            table = tables.read_scores(await self.store.get(entry.pool_embedding), "embedding of the pool")
            self._embedded = batch.points_of(table)
        return self._embedded


async def _round(pool: _Pool, entry: RoundView, labelled: set[batch.Region]) -> RoundReport:
    """Return the pictures of one round, and add its regions to ``labelled``, which holds those chosen before."""
    selection = tables.read(schemas.SELECTION, await pool.store.get(entry.selection), "selection")
    chosen: dict[str, dict[int, int]] = defaultdict(dict)
    for image_id, region_id, rank in zip(selection["image_id"], selection["region_id"], selection["rank"], strict=True):
        chosen[image_id][int(region_id)] = int(rank)
    drawings = []
    for image_id in list(chosen)[:IMAGES_SHOWN]:
        regions = chosen[image_id]
        traced = outlines(await pool.region_map(image_id), list(regions))
        drawn = tuple(DrawnRegion(rank, tuple(traced[region_id])) for region_id, rank in regions.items())
        drawings.append(Drawing(image_id, await pool.rgb(image_id), drawn))
    ranks = {(image_id, region): rank for image_id, of in chosen.items() for region, rank in of.items()}
    scatter = await _scatter(pool, entry, ranks, labelled)
    labelled.update(ranks)
    classes = await _classes(pool, entry)
    losses, rates = await _losses(pool, entry), await _rates(pool, entry)
    return RoundReport(entry.round, tuple(drawings), classes, scatter, losses=losses, rates=rates)


async def _losses(pool: _Pool, entry: RoundView) -> Parts:
    """Return the parts of the losses of the round's training."""
    if not entry.HasField("losses"):
        return {}
    table = tables.read(schemas.LOSSES, await pool.store.get(entry.losses), "losses")
    return by_part(*(table[name] for name in schemas.LOSSES.names))


async def _rates(pool: _Pool, entry: RoundView) -> tuple[float, ...]:
    """Return the learning rates of the round's training, one an epoch."""
    if not entry.HasField("history"):
        return ()
    table = tables.read(schemas.HISTORY, await pool.store.get(entry.history), "history")
    return tuple(float(rate) for rate in table["learning_rate"])


async def _labelled(pool: _Pool, ref: ObjectRef) -> tuple[LabelledPicture, ...]:
    """Return some of the images with the most pseudo labels."""
    table = tables.read(schemas.PLANES, await pool.store.get(ref), "pseudo labels")
    planes: dict[str, dict[str, ObjectRef]] = defaultdict(dict)
    for image_id, name, stored in zip(table["image_id"], table["plane"], refs(table, ""), strict=True):
        planes[str(image_id)][str(name)] = stored
    # A PNG grows with its content, so the fullest ones are found without decoding a large pool.
    fullest = sorted(planes, key=lambda image_id: (-planes[image_id]["provenance"].size, image_id))[:LABELLED_SHOWN]
    return tuple(
        [
            LabelledPicture(
                image_id,
                await pool.rgb(image_id),
                images.decode_labels(await pool.store.get(planes[image_id]["classes"]), image_id),
                images.decode_labels(await pool.store.get(planes[image_id]["provenance"]), image_id),
            )
            for image_id in fullest
        ]
    )


async def _classes(pool: _Pool, entry: RoundView) -> NDArray[np.int64] | None:
    """Return the pixels of each class in the round's answers."""
    if not entry.HasField("ledger"):
        return None
    ledger = tables.read(schemas.LEDGER, await pool.store.get(entry.ledger), "ledger")
    answers = [ref for ref in refs(ledger, "answer_") if ref.key]
    if not answers:
        return None
    counts = np.zeros(256, np.int64)
    # Evenly over the round, so that a part of a huge round is a fair sample.
    for index in np.unique(np.linspace(0, len(answers) - 1, min(len(answers), CLASSES_COUNTED)).astype(int)):
        crop = images.decode_labels(await pool.store.get(answers[index]), "answer")
        counts += np.bincount(crop.reshape(-1), minlength=256)
    return counts[: len(pool.manifest.classes)]


async def _scatter(
    pool: _Pool, entry: RoundView, chosen: Mapping[batch.Region, int], earlier: set[batch.Region]
) -> Scatter | None:
    """Return the round's embedding in two dimensions: unchanged, or its first two principal components."""
    if not entry.HasField("embedding"):
        return None
    table = tables.read_scores(await pool.store.get(entry.embedding), "embedding")
    points, ranks = batch.points_of(table), batch.places(table, chosen, earlier)
    behind = await pool.embedded(entry) if entry.HasField("pool_embedding") else points[:0]
    if len(points) == 0 or points.shape[1] == 2:
        return Scatter(points, ranks, pool=behind)
    flat, share = plane(np.concatenate([points, behind]))
    note = f"principal components of {points.shape[1]} dimensions, {share:.0%} of the variance"
    return Scatter(flat[: len(points)], ranks, note, flat[len(points) :])
