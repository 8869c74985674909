"""Scores of regions from low-resolution logits: one fused pass for all columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition import SCORES
from tessera.acquisition.interfaces import Column, Columns, Float32, Int32, NetworkScore, PassSet, Score
from tessera.acquisition.scoring import fused_pass
from tessera.acquisition.scoring.fused_pass import axis_weights, is_vector
from tessera.errors import BadInput


def needs_model(columns: Columns) -> bool:
    """Return whether any column reads the network's output; False means that no image has to be opened."""
    return any(SCORES.entry(column.score).traits.needs_model for column in columns)


def needs_images(columns: Columns) -> bool:
    """Return whether any column reads the images; False means that region ids are enough."""
    return needs_model(columns) or any(auxiliary_of(column) for column in columns)


def auxiliary_of(column: Column) -> str:
    """Return the name of the auxiliary network that the column reads, or an empty text."""
    return SCORES.entry(column.score).traits.needs_auxiliary


def network_score(column: Column, tensors: Mapping[str, npt.NDArray[Any]]) -> NetworkScore:
    """Build the score of a column that reads an auxiliary network with the weights ``tensors``."""
    fused_pass.is_vector(column)
    entry = SCORES.entry(column.score)
    score: Score = entry.function(SCORES.parameters(column.score, column.score_parameters))
    assert score.network is not None  # noqa: S101  # the trait says so
    return score.network(tensors)


def pass_sets(columns: Columns) -> set[PassSet]:
    """Return the forward passes that the columns read beside the plain one."""
    wanted: set[PassSet] = set()
    for column in columns:
        passes = SCORES.entry(column.score).traits.passes(SCORES.parameters(column.score, column.score_parameters))
        if passes is not None:
            wanted.add(passes)
    return wanted


def table_columns(columns: Columns, classes: int) -> list[str]:
    """Return the names of the float32 columns in the score table, in order: ``name``, or ``name_0`` … ``name_{C-1}``.

    BadInput when two come out equal, or a score and an aggregation do not go together.
    """
    names = [
        name
        for column in columns
        for name in ([f"{column.name}_{c}" for c in range(classes)] if is_vector(column) else [column.name])
    ]
    return require_names(names, "score columns")


def require_names(names: list[str], where: str) -> list[str]:
    """Return the names of score columns; BadInput when one is empty, repeated or a key of the table."""
    for name in names:
        if names.count(name) > 1 or name in ("", "image_id", "region_id", "pixels"):
            raise BadInput(f"{where}: the name {name!r} is taken or empty; give every column a name of its own")
    return names


def score_regions(
    logits: Float32 | None,
    region_map: npt.NDArray[np.integer[Any]],
    columns: Columns,
    seed: int,
    image_id: str,
    extra: Mapping[PassSet, Sequence[Float32]] | None = None,
) -> dict[str, Float32]:
    """Score the regions of one image: an array (R,) float32 per column, R = largest id + 1; C arrays per vector column.

    Keys are ``table_columns(columns, C)``. ``logits`` (C, h, w) float32 at the network's own resolution, None when no
    column needs a model; ``region_map`` (H, W) holds dense ids from 0. Logits are upsampled bilinearly
    (align_corners=False), put through softmax, scored and summed strip by strip; sums are float64 in row-major order,
    so results do not depend on strips or shards. ``extra`` holds the logits of the `pass_sets` of the columns.
    BadInput for an empty map, gaps in the ids, logits that are not finite, or a column that needs missing logits.
    """
    labels = np.ascontiguousarray(region_map, np.int32)
    pixels = _region_pixels(labels, image_id)
    plan = fused_pass.plan_of(columns)
    made = {
        name: np.asarray(score, np.float32)
        for name, score in fused_pass.draws(plan.draws, seed, image_id, np.arange(len(pixels), dtype=np.int64)).items()
    }
    if plan.modelled():
        if logits is None:
            names = ", ".join(sorted(plan.modelled()))
            raise BadInput(f"image {image_id}: score column {names} needs a model and none was given; name a model")
        checked = _checked(logits, labels, image_id)
        passes = _passes(columns, extra or {}, checked, labels, image_id)
        for name, sums in fused_pass.run(checked, labels, plan, pixels, passes).items():
            made[name] = sums.astype(np.float32)
    result: dict[str, Float32] = {}
    for column in columns:
        values = made[column.name]
        if values.ndim == 2:
            result |= {f"{column.name}_{c}": np.ascontiguousarray(values[:, c]) for c in range(values.shape[1])}
        else:
            result[column.name] = values
    return result


def draw_regions(
    columns: Columns, seed: int, image_id: str, region_ids: npt.NDArray[np.integer[Any]]
) -> dict[str, Float32]:
    """Return the columns that need no model, for the given regions of one image: no map and no pixels needed."""
    plan = fused_pass.plan_of(columns)
    if plan.modelled():
        raise BadInput(f"image {image_id}: score column {plan.modelled()[0]} needs a model and none was given")
    return fused_pass.draws(plan.draws, seed, image_id, region_ids)


def _passes(
    columns: Columns, extra: Mapping[PassSet, Sequence[Float32]], plain: Float32, labels: Int32, image_id: str
) -> dict[PassSet, list[Float32]]:
    found: dict[PassSet, list[Float32]] = {}
    for passes in sorted(pass_sets(columns)):
        given = [_checked(one, labels, image_id) for one in extra.get(passes, ())]
        if len(given) != passes.times or any(one.shape != plain.shape for one in given):
            raise BadInput(
                f"image {image_id}: {len(given)} sets of logits of kind {passes.kind} were given, {passes.times} are "
                f"needed, each shaped {plain.shape}"
            )
        found[passes] = given
    return found


def _region_pixels(labels: Int32, image_id: str) -> npt.NDArray[np.int64]:
    if labels.ndim != 2 or labels.size == 0:
        raise BadInput(f"image {image_id}: the region map has shape {labels.shape}; it must be H×W and not empty")
    if int(labels.min()) < 0:
        raise BadInput(f"image {image_id}: the region map holds id {int(labels.min())}; ids start at 0")
    if int(labels.max()) >= labels.size:
        raise BadInput(f"image {image_id}: region id {int(labels.max())} exceeds the pixel count; ids must be dense")
    from tessera.acquisition.scoring.region_sums_kernel import count

    pixels = np.zeros(int(labels.max()) + 1, np.int64)
    count(labels, pixels)
    if not pixels.all():
        raise BadInput(f"image {image_id}: region {int(np.argmin(pixels))} has no pixels; ids must be dense from 0")
    return pixels


def _checked(logits: Float32, labels: Int32, image_id: str) -> Float32:
    if logits.ndim != 3 or 0 in logits.shape:
        raise BadInput(f"image {image_id}: logits have shape {logits.shape}; they must be C×h×w and not empty")
    finite = np.isfinite(logits)
    if not finite.all():
        _, y, x = (int(index[0]) for index in np.nonzero(~finite))
        height, width = labels.shape
        region = labels[int((y + 0.5) * height / logits.shape[1]), int((x + 0.5) * width / logits.shape[2])]
        raise BadInput(
            f"region {region} of image {image_id}: the model's logits hold NaN or infinity; the weights are damaged"
        )
    return np.ascontiguousarray(logits, np.float32)


__all__ = [
    "Column",
    "auxiliary_of",
    "axis_weights",
    "draw_regions",
    "is_vector",
    "needs_images",
    "needs_model",
    "network_score",
    "pass_sets",
    "require_names",
    "score_regions",
    "table_columns",
]
