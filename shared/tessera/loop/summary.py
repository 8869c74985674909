"""``summary.json``: the numbers of a run, with everything that a fair comparison needs."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tessera import evaluation
from tessera.errors import BadInput
from tessera.loop.reading import from_canonical
from tessera.loop.recipe import Recipe
from tessera.loop.view import manifest_of
from tessera.pb.runs_pb2 import RoundView, RunStatus, RunView, SplitCounts

_BUCKETS = {
    "score": ("discriminate", "score"),
    "embed": ("featurize", "fit", "candidates", "project"),
    "select": ("shortlist", "select"),
    "label": ("val_ask", "val_collect", "val_label", "given", "ask", "collect", "label"),
    "train": ("train",),
    "evaluate": ("evaluate",),
}
"""Timing of the summary → steps of the run."""


def summary(
    view: RunView,
    images: Sequence[Collection[str]],
    versions: Mapping[str, str],
    batches: Mapping[int, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return ``summary.json`` of a run.

    ``images``: for each round of ``view``, the ids of the images its selection names (the selection tables have them);
    ``versions``: library → version; ``batches``: round → its ``batch.figures``. Fractions are of the training pool
    (of one that grows, of that of the last round, so that the share rises), IoU in 0..1 and None where undefined.
    """
    if len(images) < len(view.rounds):
        raise BadInput(f"summary: {len(view.rounds)} rounds, but image ids of {len(images)}")
    recipe = from_canonical(view.spec.recipe)
    rounds = _rounds(view, images)
    for one in rounds:
        one["batch"] = (batches or {}).get(one["round"])
    return {
        "recipe": recipe.recipe,
        "run": view.spec.run_id,
        "seed": view.spec.seed,
        "status": RunStatus.Name(view.status).removeprefix("RUN_STATUS_").lower(),
        "message": view.message,
        "dataset": {
            "name": view.spec.dataset_name,
            "splits": {split: view.spec.split_sizes[split] for split in sorted(view.spec.split_sizes)},
            "classes": list(view.spec.class_names),
            "manifest_sha256": view.spec.dataset.manifest.sha256,
            **({"series": view.spec.series, "version": view.spec.version} if view.spec.series else {}),
            **_newest(view),
        },
        "axes": _axes(recipe),
        "checkpoint_policy": recipe.checkpoint,
        "acquisition_model": recipe.acquisition_model,
        "targets": dict(recipe.paper.targets),
        "target_dataset": recipe.paper.dataset and recipe.paper.dataset.model_dump(),
        "deviations": list(recipe.paper.deviations),
        "pool": _pool(view),
        "versions": dict(versions),
        "wall_seconds": view.wall_seconds,
        "auc": {split: auc(rounds, split) for split in recipe.evaluate},
        "rounds": rounds,
    }


def _newest(view: RunView) -> dict[str, Any]:
    """Return where the manifest of the last round is, if it is not the one that the data set's name leads to."""
    newest = manifest_of(view)
    if newest.key in ("", f"datasets/{view.spec.dataset_name}/manifest.json"):
        return {}
    return {"newest": {"manifest": newest.key, "sha256": newest.sha256}}


def _pool(view: RunView) -> dict[str, int]:
    """Return the size of the training pool; of one that grows, that of the last round."""
    grown = [one.data for one in view.rounds if one.HasField("data")]
    if grown:
        return {"images": grown[-1].images, "regions": grown[-1].regions, "pixels": grown[-1].pixels}
    return {
        "images": view.spec.split_sizes.get("train", 0), "regions": view.pool_regions, "pixels": view.pool_pixels
    }  # fmt: skip


def auc(rounds: Sequence[Mapping[str, Any]], split: str) -> dict[str, Any] | None:
    """Return the area under the ``headline`` over ``regions_fraction`` by the trapezoid rule, from the initial budget.

    ``value`` is the area, ``mean`` the area over the width of the interval; None with fewer than two measured rounds.
    """
    measured = [
        (one["regions_fraction"], value)
        for one in rounds
        if one.get(split) and (value := headline(one[split])) is not None
    ]
    if len(measured) < 2:
        return None
    budgets = [budget for budget, _ in measured]
    area = evaluation.auc(budgets, [value for _, value in measured])
    width = budgets[-1] - budgets[0]
    return {
        "convention": "trapezoid",
        "over": "regions_fraction",
        "from": budgets[0],
        "to": budgets[-1],
        "value": area,
        "mean": area / width,
    }


def quality(counts: SplitCounts) -> dict[str, Any]:
    """Return mIoU over the classes present in the truth of the split, IoU of every class, and pixel accuracy.

    Of a data set of classification all are of images, and ``accuracy`` takes the place of pixel accuracy.
    """
    tp, fp, fn = counts.true_positives, counts.false_positives, counts.false_negatives
    return {
        "miou": _number(evaluation.miou(tp, fp, fn)),
        "iou": [_number(one) for one in evaluation.iou(tp, fp, fn)],
        "accuracy" if counts.counts_images else "pixel_accuracy": _number(evaluation.accuracy(tp, fn)),
        "images": counts.images,
    }


def headline(quality: Mapping[str, Any]) -> float | None:
    """Return the main measure of a split: accuracy where images are classified, else mIoU."""
    value = quality.get("accuracy", quality.get("miou"))
    return None if value is None else float(value)


def _number(value: float) -> float | None:
    """Replace NaN by null, since JSON has no NaN."""
    return None if math.isnan(value) else float(value)


def _axes(recipe: Recipe) -> dict[str, Any]:
    whole = json.loads(recipe.canonical())
    names = ("partition", "query", "oracle", "model", "score", "selection", "budget", "stop", "training")
    return {name: whole[name] for name in names}


def _rounds(view: RunView, images: Sequence[Collection[str]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    regions = pixels = clicks = clicks_without = 0
    seconds = measured_seconds = 0.0
    measured_clicks = 0
    touched: set[str] = set()
    pool = _pool(view)
    for one, ids in zip(view.rounds, images, strict=False):
        cost = one.cost
        regions, pixels = regions + cost.regions, pixels + cost.pixels
        clicks, clicks_without = clicks + cost.clicks, clicks_without + cost.clicks_without_undefined
        seconds += cost.labelling_seconds
        measured_clicks += cost.measured_clicks
        measured_seconds += cost.measured_seconds
        touched.update(ids)
        if not one.complete:
            # An unfinished round has no numbers yet.
            continue
        made.append(
            {
                "round": one.round,
                # The version of a data set that grows, and the pool that the round had.
                **(
                    {"data_version": one.data.version, "pool_images": one.data.images, "pool_regions": one.data.regions}
                    if one.HasField("data")
                    else {}
                ),
                "regions_labelled": regions,
                "regions_fraction": regions / pool["regions"],
                "images_touched": len(touched),
                "pixels_labelled": pixels,
                "pixels_fraction": pixels / pool["pixels"],
                "clicks": clicks,
                "clicks_without_undefined": clicks_without,
                "labelling_seconds": seconds,
                # What people took; summaries of simulated runs stay as they were.
                **(
                    {"measured_clicks": measured_clicks, "measured_seconds": measured_seconds}
                    if measured_clicks or measured_seconds
                    else {}
                ),
                "selection_sha256": one.selection_sha256,
                # Notes of the selector: fewer regions than the budget, the overlap of two criteria.
                "notes": list(one.notes),
                "kept_epoch": one.kept_epoch,
                "timings": timings(one),
                "compute_seconds": sum(timing.compute_seconds for timing in one.timings),
                # Of the training's steps; None: not measured.
                "images_per_second": max((timing.images_per_second for timing in one.timings), default=0.0) or None,
                **{counts.split: quality(counts) for counts in one.splits},
            }
        )
    return made


def timings(one: RoundView) -> dict[str, float]:
    """Return wall seconds of a round by kind of work; the partition's, in round 0, counts in none of them."""
    wall = {timing.step: timing.wall_seconds for timing in one.timings}
    return {bucket: sum(wall.get(step, 0.0) for step in steps) for bucket, steps in _BUCKETS.items()}
