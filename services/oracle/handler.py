"""Answer: names the selected images' region maps and labels. The only handler that is handed train labels."""

from __future__ import annotations

from tessera.formats import schemas, tables
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def answer(request: AnswerRequest, context: Context) -> AnswerResponse:
    """Answer the question about every selected region."""
    selection = tables.read(schemas.SELECTION, await context.fetch(request.selection), "selection")
    ids = list(dict.fromkeys(str(image_id) for image_id in selection["image_id"]))
    reads = [
        request.manifest,
        request.labels,
        request.selection,
        *[shard.maps for shard in request.shards],
        *await inputs.maps(context, list(request.shards), ids),
        *await inputs.labels(context, request.labels, ids),
    ]
    return await context.compute("services.oracle.compute:answer", request, reads, AnswerResponse)


METHODS: tuple[Method, ...] = (
    Method(
        name="Answer",
        service="tessera.v1.OracleService",
        verb="answer",
        request=AnswerRequest,
        response=AnswerResponse,
        handler=answer,
        algorithm="answer/3",
        timeout_seconds=3600,
    ),
)
