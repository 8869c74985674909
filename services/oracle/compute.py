"""What the oracle's compute child runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, shards, tables
from tessera.formats.media import PARQUET, PNG
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.queries import FORMATS, ORACLES, LedgerRow, Provenance, Question, ask, columns, event_id, total
from tessera.regions import RegionTable, region_table
from tessera.runtime.method import Blobs


def answer(request: AnswerRequest, blobs: Blobs) -> AnswerResponse:
    """Write one answer object a region and the ledger, rows in rank order.

    BadInput: a selected image without a region map or label, a region that its map does not have, labels that do not
    fit the image or the classes.
    """
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    selection = tables.read(schemas.SELECTION, blobs.read(request.selection), "selection")
    shared = Provenance(request.context.round, request.query, request.oracle, request.seed)
    query = (request.query.name, FORMATS.parameters(request.query.name, request.query.parameters))
    oracle = (request.oracle.name, ORACLES.parameters(request.oracle.name, request.oracle.parameters))
    truths = _Truths(request, blobs, len(dataset.classes), dataset.ignore_index)
    rows = []
    for image_id, region_id in zip(selection["image_id"], selection["region_id"], strict=True):
        truth = truths.of(str(image_id))
        region = int(region_id)
        box = truth.table.box(region)
        question = Question.of(str(image_id), truth.labels, truth.regions, region, box, dataset.ignore_index)
        reply = ask(question, query, oracle, request.seed)
        stored = blobs.write(images.encode_png(reply.crop), PNG) if reply.crop is not None else ObjectRef()
        rows.append(LedgerRow(question, reply, stored, event_id(question, shared, truth.map, truth.label)))
        blobs.progress(len(rows) / len(selection["image_id"]), str(image_id))
    ledger = columns(rows, shared)
    return AnswerResponse(ledger=blobs.write(tables.write(schemas.LEDGER, ledger), PARQUET), cost=total(ledger))


@dataclass(frozen=True)
class _Truth:
    """Decoded labels and region map of one image."""

    map: ObjectRef
    label: ObjectRef
    regions: NDArray[np.int32]
    labels: NDArray[np.uint8]
    table: RegionTable


class _Truths:
    """Looks images up by id; keeps the last one, since ranks of image-wise selections come image by image."""

    def __init__(self, request: AnswerRequest, blobs: Blobs, classes: int, ignore_index: int) -> None:
        self._blobs, self._classes, self._ignore_index = blobs, classes, ignore_index
        self._maps = shards.map_refs(request.shards, blobs.read)
        self._labels = manifests.labels_from_json(blobs.read(request.labels))
        self._last: tuple[str, _Truth] | None = None

    def of(self, image_id: str) -> _Truth:
        if self._last is None or self._last[0] != image_id:
            if image_id not in self._maps:
                raise BadInput(f"selection: image {image_id!r} has no region map in the shards of this request")
            ref, label = self._maps[image_id], self._labels.label(image_id)
            regions = images.decode_map(self._blobs.read(ref), f"region map of {image_id}")
            shape = (regions.shape[0], regions.shape[1])
            data = self._blobs.read(label)
            labels = images.decode_labels(data, f"label of {image_id}", self._classes, self._ignore_index, shape)
            self._last = image_id, _Truth(ref, label, regions, labels, region_table(regions))
        return self._last[1]
