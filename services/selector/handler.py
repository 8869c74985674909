"""The selector's one method."""

from __future__ import annotations

from tessera.pb.selector_pb2 import SelectRequest, SelectResponse
from tessera.runtime.method import Context, Method


async def select(request: SelectRequest, context: Context) -> SelectResponse:
    """Choose regions from tables alone: the selector never sees an image, a map or a label."""
    reads = [shard.regions for shard in request.shards]
    reads += [*request.scores, *request.ledgers]
    if request.HasField("candidates"):
        reads.append(request.candidates)
    if request.HasField("manifest"):
        reads.append(request.manifest)
    if request.HasField("embedding"):
        reads.append(request.embedding)
    return await context.compute("services.selector.compute:select", request, reads, SelectResponse)


METHODS: tuple[Method, ...] = (
    Method(
        name="Select",
        service="tessera.v1.SelectorService",
        verb="select",
        request=SelectRequest,
        response=SelectResponse,
        handler=select,
        # 2: k-means++ over more than four million pairs draws by pruning.
        algorithm="select/2",
        timeout_seconds=600.0,
    ),
)
