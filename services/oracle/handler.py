"""Answer: its reads and its compute function. The only service that may read train labels."""

from __future__ import annotations

from tessera.formats import schemas, tables
from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def answer_reads(request: AnswerRequest, context: Context) -> list[ObjectRef]:
    """Name region maps and labels of the selected images."""
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


def answer(request: AnswerRequest, blobs: Blobs) -> AnswerResponse:
    """Answer the question about every selected region."""
    from services.oracle import compute, people

    if request.HasField("answers"):
        return people.answer_of_people(request, blobs)
    return compute.answer(request, blobs)


LIBRARIES = ("services.oracle.compute", "cv2")

METHODS: tuple[Method, ...] = (
    Method("tessera.v1.OracleService/Answer", answer_reads, answer, algorithm="answer/3", timeout_seconds=3600),
)
