"""Fixed column layouts of every Parquet table in the store.

Readers check names and types against these and name the first difference, so a table of another version is an error and
never a silent misreading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_REGION_KEY = [("image_id", pa.string()), ("region_id", pa.int32())]
_REF = [
    ("bucket", pa.string()),
    ("key", pa.string()),
    ("sha256", pa.string()),
    ("size", pa.int64()),
    ("media_type", pa.string()),
]
_BOX = [("y0", pa.int32()), ("x0", pa.int32()), ("y1", pa.int32()), ("x1", pa.int32())]

REGIONS = pa.schema([*_REGION_KEY, ("pixels", pa.int32()), *_BOX])
"""One row per region: pixel count and half-open bounding box [y0, y1) × [x0, x1), in pixels."""

MAPS = pa.schema([("image_id", pa.string()), *_REF, ("height", pa.int32()), ("width", pa.int32())])
"""One row per image: the reference of its region map (PNG, 8 or 16 bit, dense ids from 0)."""

TARGETS = pa.schema(_REGION_KEY)
"""Keys of the regions, one row per row of a feature matrix."""

SELECTION = pa.schema(
    [("rank", pa.int32()), *_REGION_KEY, ("score", pa.float32()), ("cluster", pa.int32())],
)
"""Chosen regions in rank order (rank from 0); score NaN and cluster -1 where the stages have none."""

LEDGER = pa.schema(
    [
        ("round", pa.int32()),
        *_REGION_KEY,
        ("query", pa.string()),
        # Classes in the answer, ascending; the undefined class is the ignore index.
        ("classes", pa.list_(pa.int32())),
        *[(f"answer_{name}", kind) for name, kind in _REF],
        *_BOX,
        ("pixels", pa.int32()),
        ("clicks", pa.int32()),
        ("clicks_without_undefined", pa.int32()),
        ("seconds", pa.float32()),
        ("oracle", pa.string()),
        ("seed", pa.uint64()),
        # Idempotency key of the answer: sha256(run-independent facts of the question).
        ("event_id", pa.string()),
        # Source of the seconds: per_click, per_image, user_study or user_study_extrapolated.
        ("seconds_model", pa.string()),
        # SHA-256 of the image's region map: the partition that the region id belongs to.
        ("map_sha256", pa.string()),
    ]
)
"""One row per answer. A pixel-wise query's answer object is a PNG of the box, 255 outside the region or undefined.

The run is not a column: runs that ask the same questions share one ledger. A run's folder has `RUN_LEDGER`.
"""

ADDED = {"seconds_model": "", "map_sha256": ""}
"""Last columns of `LEDGER` that earlier tables lack, and the value that readers get instead."""

PEOPLE_LEDGER = pa.schema(
    [
        *LEDGER,
        # Who answered; several, joined by +, where the recipe asks for an overlap.
        ("annotator", pa.string()),
        # As measured, summed over the annotators and their corrections: `clicks` and `seconds` stay those of the model.
        ("measured_clicks", pa.int32()),
        ("measured_seconds", pa.float32()),
        # What asked: name and version of the page or adapter.
        ("page_version", pa.string()),
        # Share of pixels (or of named classes) on which the annotators agree; -1 where one person answered.
        ("agreement", pa.float32()),
        # When the last answer was given, seconds since 1970.
        ("answered_at", pa.float64()),
    ]
)
"""A ledger of answers that people gave."""

PEOPLE: dict[str, Any] = {
    "annotator": "",
    "measured_clicks": 0,
    "measured_seconds": 0.0,
    "page_version": "",
    "agreement": -1.0,
    "answered_at": 0.0,
}
"""Last columns of `PEOPLE_LEDGER`, and their values where no person answered."""

QUESTIONS = pa.schema(
    [
        ("rank", pa.int32()),
        *_REGION_KEY,
        *[(f"image_{name}", kind) for name, kind in _REF],
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("sequence", pa.string()),
        ("time", pa.float64()),
        *_BOX,
        ("pixels", pa.int32()),
        # BoxMask.counts of questions.proto, little-endian uint32.
        ("region", pa.binary()),
        # y, x of every point of query pixel, little-endian int32, in pixels of the image; else empty.
        ("points", pa.binary()),
        # PNG of the box; empty references where there is none.
        *[(f"prediction_{name}", kind) for name, kind in _REF],
        *[(f"superpixels_{name}", kind) for name, kind in _REF],
    ]
)
"""One row per question to people, in rank order."""

ANSWERS = pa.schema(
    [
        ("rank", pa.int32()),
        *_REGION_KEY,
        ("annotator", pa.string()),
        ("answer_id", pa.string()),
        # Why there is no answer; empty: there is one.
        ("skipped", pa.string()),
        # Of queries dominant, multi_class and pixel (there one class for each point, in their order).
        ("classes", pa.list_(pa.int32())),
        # RasterAnswer of questions.proto, little-endian uint32.
        ("values", pa.binary()),
        ("lengths", pa.binary()),
        # Measured, corrections included.
        ("seconds", pa.float64()),
        ("clicks", pa.int32()),
        ("page_version", pa.string()),
        ("answered_at", pa.float64()),
    ]
)
"""One row per answer that counts, by rank and then by time."""

RUN_LEDGER = pa.schema([("run", pa.string()), ("partition", pa.string()), *LEDGER])
"""``ledger.parquet`` of a run's folder: the ledgers of all its rounds, with its name and its partition as JSON."""

RUN_PEOPLE_LEDGER = pa.schema([("run", pa.string()), ("partition", pa.string()), *PEOPLE_LEDGER])
"""``ledger.parquet`` of a run whose oracle is people."""

HISTORY = pa.schema(
    [("epoch", pa.int32()), ("loss", pa.float64()), ("learning_rate", pa.float64()), ("val_miou", pa.float64())],
)
"""One row per epoch (from 1); val_miou NaN where val was not measured."""

LOSSES = pa.schema([("epoch", pa.int32()), ("phase", pa.string()), ("part", pa.string()), ("value", pa.float64())])
"""One row per epoch and named value of a training (a part of its loss, or a logged one): mean over the epoch."""

PLANES = pa.schema(
    [("image_id", pa.string()), ("plane", pa.string()), *_REF, ("height", pa.int32()), ("width", pa.int32())]
)
"""One row per image and plane that a training leaves: a map (PNG, 8 bit) of pseudo labels or of their provenance."""

AUXILIARY_HISTORY = pa.schema(
    [("epoch", pa.int32())]
    + [(name, pa.float64()) for name in ("discriminator_loss", "reconstruction", "divergence", "adversarial")],
)
"""One row per epoch (from 1) of an auxiliary network: mean losses; NaN where the network has no such term."""

CONFUSION = pa.schema(
    [("image_id", pa.string()), ("truth", pa.int32()), ("predicted", pa.int32()), ("count", pa.int64())],
)
"""Non-zero cells of each image's confusion matrix, in pixels."""


def scores(columns: Sequence[str]) -> pa.Schema:
    """Return the schema of score tables: one row per region of a shard, its pixel count, float32 columns as requested.

    A score with one value per region is the column ``name`` (``<score>_<aggregate>`` unless the recipe sets
    ``column``); one with a value per class is the columns ``name_0`` … ``name_{C-1}``, see
    `region_scores.table_columns`.
    """
    return pa.schema([*_REGION_KEY, ("pixels", pa.int32()), *[(name, pa.float32()) for name in columns]])


def embedding(dimension: int) -> pa.Schema:
    """Return the schema of projected points: one row per region, columns x0 … x{dimension-1} float32."""
    return pa.schema([*_REGION_KEY, *[(f"x{axis}", pa.float32()) for axis in range(dimension)]])
