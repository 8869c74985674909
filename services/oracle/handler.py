"""Ask and Answer: their reads and compute functions. The only service that may read train labels."""

from __future__ import annotations

from tessera.formats import schemas, tables
from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse, AskRequest, AskResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def ask_reads(request: AskRequest, context: Context) -> list[ObjectRef]:
    """Name the region maps of the selected images; the images and the model where a starting point is offered."""
    selection = tables.read(schemas.SELECTION, await context.fetch(request.selection), "selection")
    ids = list(dict.fromkeys(str(image_id) for image_id in selection["image_id"]))
    reads = [request.manifest, request.selection, *[shard.maps for shard in request.shards]]
    reads += await inputs.maps(context, list(request.shards), ids)
    if request.HasField("model"):
        reads.append(request.model.weights)
    if request.HasField("model") or request.superpixels:
        reads += await inputs.images_by_id(context, request.manifest, "train", ids)
    return reads


def ask(request: AskRequest, blobs: Blobs) -> AskResponse:
    """Draw up the questions about every selected region."""
    from services.oracle import asking

    return asking.ask(request, blobs)


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
    from services.oracle import asking, compute

    if request.HasField("answers"):
        return asking.answer_of_people(request, blobs)
    return compute.answer(request, blobs)


LIBRARIES = ("services.oracle.compute", "cv2")

METHODS: tuple[Method, ...] = (
    Method("tessera.v1.OracleService/Ask", ask_reads, ask, algorithm="ask/1", timeout_seconds=3600),
    Method("tessera.v1.OracleService/Answer", answer_reads, answer, algorithm="answer/3", timeout_seconds=3600),
)
