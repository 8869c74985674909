"""The work of the oracle where labels came with the data set: they are answers that nobody has to give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, selections, tables
from tessera.formats.blobs import Blobs
from tessera.formats.label_maps import labelled_frames
from tessera.formats.media import PARQUET, PNG
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.queries import (
    FORMATS,
    Answer,
    ByPeople,
    LedgerRow,
    Provenance,
    ask,
    columns,
    event_id,
    people_columns,
    total,
)
from tessera.queries.question import Question

ANNOTATOR = "imported"
_UNDEFINED = 255


def imported_answers(request: AnswerRequest, blobs: Blobs) -> AnswerResponse:
    """Write the ledger of all regions that have a labelled pixel, by image in the order of the data set; they cost
    nothing.

    An answer is the label map itself, to the pixel, whatever the query; where training reads sets of classes (a query
    whose answers have no pixels), it is what somebody who sees the map would answer. Regions without a labelled pixel
    stay in the pool. BadInput: labels that do not fit the image or the classes, or none at all.
    """
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    labels = manifests.labels_from_json(blobs.read(request.labels))
    by_image: dict[str, list[int]] = {
        item.image_id: [] for item in dataset.split(labels.split) if item.image_id in labels.labels
    }
    shared = Provenance(request.context.round, request.query, request.oracle, request.seed)
    rows: list[LedgerRow] = []
    for done, ((frame, table, region_map, label), _) in enumerate(labelled_frames(request, blobs, by_image), start=1):
        for region in range(len(table)):
            question = frame.question(region, table.box(region))
            if np.all(question.truth[question.inside] == dataset.ignore_index):
                continue
            reply = _answer(question, request)
            stored = blobs.write(images.encode_png(reply.crop), PNG) if reply.crop is not None else ObjectRef()
            event = event_id(question, shared, region_map, label)
            rows.append(LedgerRow.of(question, reply, stored, event, region_map))
        blobs.progress(done / len(by_image), frame.image_id)
    if not rows:
        raise BadInput(
            "labels: no image of the training pool has a labelled pixel; import the data set without labels, or give "
            "label maps of its images"
        )
    nobody = ByPeople(ANNOTATOR, 0, 0.0, "", 1.0, 0.0)
    ledger = columns(rows, shared) | people_columns([nobody] * len(rows))
    selection: dict[str, Any] = {
        "rank": np.arange(len(rows), dtype=np.int32),
        "image_id": [row.image_id for row in rows],
        "region_id": [row.region_id for row in rows],
        "score": np.full(len(rows), np.nan, np.float32),
        "cluster": np.full(len(rows), -1, np.int32),
    }
    return AnswerResponse(
        ledger=blobs.write(tables.write(schemas.PEOPLE_LEDGER, ledger), PARQUET),
        cost=total(ledger),
        selection=blobs.write(tables.write(schemas.SELECTION, selection), PARQUET),
        selection_sha256=selections.sha256(selection["image_id"], selection["region_id"]),
    )


def _answer(question: Question, request: AnswerRequest) -> Answer:
    query = (request.query.name, FORMATS.parameters(request.query.name, request.query.parameters))
    if FORMATS.entry(query[0]).traits.pixels == "always":
        crop = np.where(question.inside & (question.truth != question.ignore_index), question.truth, _UNDEFINED)
        return Answer(question.classes(), question.pixels(), 0, 0, 0.0, crop.astype(np.uint8), ANNOTATOR)
    free = {"clicks": 0, "clicks_without_undefined": 0, "seconds": 0.0, "seconds_model": ANNOTATOR}
    return replace(ask(question, query), **free)  # type: ignore[arg-type]  # the fields' own types
