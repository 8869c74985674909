"""Ledger rows: every answer with its provenance and price, idempotent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from tessera.pb.common_pb2 import AxisValue, ObjectRef
from tessera.queries.question import Answer, Question
from tessera.registry import canonical_json


@dataclass(frozen=True)
class Provenance:
    """The facts that all rows of one job share."""

    round: int
    query: AxisValue
    oracle: AxisValue
    seed: int


@dataclass(frozen=True)
class LedgerRow:
    """One answer to one question; holds no arrays, so that many rows need little memory."""

    image_id: str
    region_id: int
    box: tuple[int, int, int, int]
    answer: Answer
    """The answer without its crop."""
    stored: ObjectRef
    """The answer object; an empty reference for answers without pixels."""
    event_id: str
    map_sha256: str
    """Content of the region map: which partition the region id belongs to."""

    @staticmethod
    def of(question: Question, answer: Answer, stored: ObjectRef, event: str, region_map: ObjectRef) -> LedgerRow:
        """Make the row of an answered question."""
        bare = replace(answer, crop=None)
        return LedgerRow(question.image_id, question.region_id, question.box, bare, stored, event, region_map.sha256)


@dataclass(frozen=True)
class ByPeople:
    """What is known of an answer because people gave it; ``formats.schemas.PEOPLE``."""

    annotator: str
    measured_clicks: int
    measured_seconds: float
    page_version: str
    agreement: float
    answered_at: float


def people_columns(rows: Sequence[ByPeople]) -> dict[str, list[Any]]:
    """Lay out the columns that a ledger of people has beside those of `columns`, in the order given."""
    return {one.name: [getattr(row, one.name) for row in rows] for one in fields(ByPeople)}


def event_id(question: Question, shared: Provenance, region_map: ObjectRef, labels: ObjectRef) -> str:
    """Name the answer by the facts of the question: hex sha256, equal whenever the same question is asked again.

    The facts are the image, the region (map content and id), the source of the answer, query, oracle and seed; neither
    the run nor the round nor the other regions of the job.
    """
    facts = {
        "image_id": question.image_id,
        "region_id": question.region_id,
        "map": region_map.sha256,
        "labels": labels.sha256,
        "query": [shared.query.name, shared.query.parameters],
        "oracle": [shared.oracle.name, shared.oracle.parameters],
        "seed": shared.seed,
    }
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()


def columns(rows: Sequence[LedgerRow], shared: Provenance) -> dict[str, list[Any]]:
    """Lay rows out as the columns of ``formats.schemas.LEDGER``, in the order given."""
    same = {"round": shared.round, "query": shared.query.name, "oracle": shared.oracle.name, "seed": shared.seed}
    table: dict[str, list[Any]] = {name: [value] * len(rows) for name, value in same.items()}
    for name in ("image_id", "region_id", "event_id", "map_sha256"):
        table[name] = [getattr(row, name) for row in rows]
    for axis, name in enumerate(("y0", "x0", "y1", "x1")):
        table[name] = [row.box[axis] for row in rows]
    for name in ("pixels", "clicks", "clicks_without_undefined", "seconds_model"):
        table[name] = [getattr(row.answer, name) for row in rows]
    # As stored (float32), so that a sum over the stored table is the sum over these rows.
    table["seconds"] = [float(np.float32(row.answer.seconds)) for row in rows]
    table["classes"] = [list(row.answer.classes) for row in rows]
    for name in ("bucket", "key", "sha256", "size", "media_type"):
        table[f"answer_{name}"] = [getattr(row.stored, name) for row in rows]
    return table
