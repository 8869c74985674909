"""The oracle's work in the compute child."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, selections, shards, tables
from tessera.formats.blobs import Blobs
from tessera.formats.media import PARQUET, PNG
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.queries import (
    FORMATS,
    ORACLES,
    AnnotatedImage,
    LedgerRow,
    Provenance,
    ask,
    columns,
    event_id,
    reach,
    total,
)
from tessera.regions import RegionTable, region_table

Decoded = tuple[AnnotatedImage, RegionTable, ObjectRef, ObjectRef]
"""An image, its regions, and the references of its region map and its labels."""


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
    for decoded, asked in _images(request, blobs, by_image):
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
    return response


def _asked(response: AnswerResponse, selection: dict[str, Any], blobs: Blobs) -> None:
    """Put the asked part of the ranking into the response."""
    response.selection.CopyFrom(blobs.write(tables.write(schemas.SELECTION, selection), PARQUET))
    response.selection_sha256 = selections.sha256(selection["image_id"], selection["region_id"])


def _images(
    request: AnswerRequest, blobs: Blobs, by_image: dict[str, list[int]]
) -> Iterator[tuple[Decoded, list[int]]]:
    """Decode each image's labels and region map once; one image in memory at a time."""
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    maps = shards.map_refs(request.shards, blobs.read)
    labels = manifests.labels_from_json(blobs.read(request.labels))
    last: tuple[str, np.ndarray[Any, np.dtype[np.int32]], RegionTable] | None = None
    for image_id, asked in by_image.items():
        if image_id not in maps:
            raise BadInput(f"selection: image {image_id!r} has no region map in the shards of this request")
        ref, label = maps[image_id], labels.label(image_id)
        if last is None or last[0] != ref.sha256:
            # Images of one size share the map of a grid.
            regions = images.decode_map(blobs.read(ref), f"region map of {image_id}")
            last = ref.sha256, regions, region_table(regions)
        _, regions, table = last
        shape = (regions.shape[0], regions.shape[1])
        classes, undefined = len(dataset.classes), dataset.ignore_index
        truth = images.decode_labels(blobs.read(label), f"label of {image_id}", classes, undefined, shape)
        yield (AnnotatedImage(image_id, truth, regions, undefined, classes), table, ref, label), asked
