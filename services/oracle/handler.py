"""Answer: its reads and its compute function. The only service that may read train labels."""

from __future__ import annotations

from tessera.formats import schemas, tables
from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def answer_reads(request: AnswerRequest, context: Context) -> list[ObjectRef]:
    """Name region maps and labels of the selected images; of labels that were imported, all of their images."""
    if request.imported:
        return await _imported_reads(request, context)
    selection = tables.read(schemas.SELECTION, await context.fetch(request.selection), "selection")
    ids = list(dict.fromkeys(str(image_id) for image_id in selection["image_id"]))
    reads = [
        request.manifest,
        request.selection,
        *[shard.maps for shard in request.shards],
        *await inputs.maps(context, list(request.shards), ids),
    ]
    if request.HasField("answers"):
        return [*reads, request.answers]
    return [*reads, request.labels, *await inputs.labels(context, request.labels, ids)]


async def _imported_reads(request: AnswerRequest, context: Context) -> list[ObjectRef]:
    ids = await inputs.labelled(context, request.manifest, request.labels)
    reads = [request.manifest, request.labels, *[shard.maps for shard in request.shards]]
    reads += await inputs.maps(context, list(request.shards), ids)
    return reads + await inputs.labels(context, request.labels, ids)


def answer(request: AnswerRequest, blobs: Blobs) -> AnswerResponse:
    """Answer the question about every selected region."""
    from services.oracle import compute, people
    from tessera.formats import imported

    if request.imported:
        return imported.imported_answers(request, blobs)
    if request.HasField("answers"):
        return people.answer_of_people(request, blobs)
    return compute.answer(request, blobs)


LIBRARIES = ("services.oracle.compute", "cv2")

METHODS: tuple[Method, ...] = (
    Method("tessera.v1.OracleService/Answer", answer_reads, answer, algorithm="answer/3", timeout_seconds=3600),
)
