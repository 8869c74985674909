"""The oracle's work when people answered: the ledger made from what they said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tessera.errors import BadInput
from tessera.formats import asking, images, manifests, schemas, selections, tables
from tessera.formats.blobs import Blobs
from tessera.formats.label_maps import add_labels
from tessera.formats.media import PARQUET, PNG
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.queries import (
    FORMATS,
    Answer,
    ByPeople,
    LedgerRow,
    Provenance,
    columns,
    event_id,
    people_columns,
    total,
)
from tessera.queries.given import priced


def answer_of_people(request: AnswerRequest, blobs: Blobs) -> AnswerResponse:
    """Write the ledger of what people answered, rows in rank order; questions without an answer are left out.

    ``clicks`` and ``seconds`` are those of the cost model for each answer given, so that they compare with a simulated
    run; what was measured stands beside them. BadInput: answers that do not belong to the selection.
    """
    selection = tables.read(schemas.SELECTION, blobs.read(request.selection), "selection")
    said = tables.read(schemas.ANSWERS, blobs.read(request.answers), "answers")
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    params = FORMATS.parameters(request.query.name, request.query.parameters)
    shared = Provenance(request.context.round, request.query, request.oracle, request.seed)
    by_rank = _by_rank(said, selection)
    kept: dict[int, tuple[LedgerRow, bytes, ByPeople]] = {}
    skipped: dict[int, tuple[LedgerRow, ByPeople]] = {}
    for frame, ref, ranks in asking.frames(selection, request.shards, dataset, blobs):
        for rank in ranks:
            rows = by_rank.get(rank, [])
            if not rows:
                continue
            question = replace(asking.question(frame, int(selection["region_id"][rank])), seed=request.seed)
            event = event_id(question, shared, ref, request.answers)
            answered = [row for row in rows if not said["skipped"][row]]
            told = asking.told(said, answered or rows, question, request.query.name)
            if not answered:
                bare = Answer((), question.pixels(), 0, 0, 0.0, None)
                skipped[rank] = LedgerRow.of(question, bare, ObjectRef(), event, ref), told.people
                continue
            reply = priced(question, told.given, (request.query.name, params), dataset.ignore_index)
            png = images.encode_png(reply.crop) if reply.crop is not None else b""
            kept[rank] = LedgerRow.of(question, reply, ObjectRef(), event, ref), png, told.people
        blobs.progress((len(kept) + len(skipped)) / max(len(by_rank), 1), frame.image_id)
    if not kept:
        raise BadInput("answers: nobody answered a question of this round; it cannot be trained on")
    order = sorted(kept)
    rows_ = [replace(row, stored=blobs.write(png, PNG)) if png else row for row, png, _ in (kept[at] for at in order)]
    ledger = columns(rows_, shared) | people_columns([kept[at][2] for at in order])
    response = AnswerResponse(ledger=_write(ledger, blobs), cost=total(ledger))
    if skipped:
        left = columns([row for row, _ in skipped.values()], shared)
        response.skipped.CopyFrom(_write(left | people_columns([who for _, who in skipped.values()]), blobs))
    if request.labels_of:
        add_labels(response, request, [(row.image_id, png) for row, png, _ in kept.values()], blobs)
    if len(order) < len(selection["image_id"]):
        _ask_part(response, selection, order, blobs)
    return response


def _by_rank(said: dict[str, Any], selection: dict[str, Any]) -> dict[int, list[int]]:
    """Return the rows of the answers by the rank of their question."""
    by_rank: dict[int, list[int]] = {}
    for row, rank in enumerate(said["rank"].tolist()):
        if not 0 <= rank < len(selection["image_id"]) or any(
            selection[name][rank] != said[name][row] for name in ("image_id", "region_id")
        ):
            raise BadInput(f"answers: row {row} is about no region of the selection; collect the round again")
        by_rank.setdefault(rank, []).append(row)
    return by_rank


def _ask_part(response: AnswerResponse, selection: dict[str, Any], order: list[int], blobs: Blobs) -> None:
    """Put the part of the ranking that was answered into the response."""
    asked = {name: column[order] for name, column in selection.items()}
    asked["rank"] = np.arange(len(order), dtype=np.int32)
    response.selection.CopyFrom(blobs.write(tables.write(schemas.SELECTION, asked), PARQUET))
    response.selection_sha256 = selections.sha256(asked["image_id"], asked["region_id"])


def _write(ledger: dict[str, Any], blobs: Blobs) -> ObjectRef:
    return blobs.write(tables.write(schemas.PEOPLE_LEDGER, ledger), PARQUET)
