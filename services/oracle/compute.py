"""The oracle's work in the compute child."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tessera.errors import BadInput
from tessera.formats import images, schemas, selections, tables
from tessera.formats.blobs import Blobs
from tessera.formats.label_maps import add_labels, labelled_frames
from tessera.formats.media import PARQUET, PNG
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.queries import (
    FORMATS,
    ORACLES,
    LedgerRow,
    Provenance,
    ask,
    columns,
    event_id,
    reach,
    total,
)


def answer(request: AnswerRequest, blobs: Blobs) -> AnswerResponse:
    """Write one answer object per region and the ledger, rows in rank order.

    Each image is read once, whatever the order of the ranking: an answer depends on its image, region and seed alone.
    With a budget the ranking is then cut after the answer that reaches it, and only the questions before the cut count
    as asked, in ledger, cost, answer objects and the selection of the response.

    BadInput: a selected image without a region map or label, a region that its map does not have, labels that do not
    fit the image or the classes.
    """
    selection = tables.read(schemas.SELECTION, blobs.read(request.selection), "selection")
    shared = Provenance(request.context.round, request.query, request.oracle, request.seed)
    query = (request.query.name, FORMATS.parameters(request.query.name, request.query.parameters))
    oracle = (request.oracle.name, ORACLES.parameters(request.oracle.name, request.oracle.parameters))
    by_image: dict[str, list[int]] = {}
    for row, image_id in enumerate(selection["image_id"]):
        by_image.setdefault(str(image_id), []).append(row)
    found: dict[int, tuple[LedgerRow, bytes]] = {}
    for decoded, asked in labelled_frames(request, blobs, by_image):
        frame, table, region_map, label = decoded
        for row in asked:
            region = int(selection["region_id"][row])
            if not 0 <= region < len(table):
                raise BadInput(
                    f"selection: region {region} of image {frame.image_id} does not exist: its map has regions 0 to "
                    f"{len(table) - 1}; select from the same partition"
                )
            question = frame.question(region, table.box(region))
            reply = ask(question, query, oracle, request.seed)
            png = images.encode_png(reply.crop) if reply.crop is not None else b""
            event = event_id(question, shared, region_map, label)
            found[row] = (LedgerRow.of(question, reply, ObjectRef(), event, region_map), png)
        blobs.progress(len(found) / len(selection["image_id"]), frame.image_id)
    ranked = [found[row] for row in range(len(found))]
    if request.HasField("budget"):
        ranked = ranked[: reach([row.answer for row, _ in ranked], request.budget.unit, request.budget.amount)]
    rows = [replace(row, stored=blobs.write(png, PNG)) if png else row for row, png in ranked]
    ledger = columns(rows, shared)
    response = AnswerResponse(ledger=blobs.write(tables.write(schemas.LEDGER, ledger), PARQUET), cost=total(ledger))
    if request.HasField("budget"):
        _asked(response, {name: column[: len(rows)] for name, column in selection.items()}, blobs)
    if request.labels_of:
        add_labels(response, request, [(row.image_id, png) for row, png in ranked if png], blobs)
    return response


def _asked(response: AnswerResponse, selection: dict[str, Any], blobs: Blobs) -> None:
    """Put the asked part of the ranking into the response."""
    response.selection.CopyFrom(blobs.write(tables.write(schemas.SELECTION, selection), PARQUET))
    response.selection_sha256 = selections.sha256(selection["image_id"], selection["region_id"])
