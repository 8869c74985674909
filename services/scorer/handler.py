"""The scorer's one method: names what the computation reads and hands it to the compute child."""

from __future__ import annotations

from services.scorer.columns import columns_of
from tessera.acquisition.scoring import needs_model
from tessera.errors import BadInput
from tessera.pb.scorer_pb2 import ScoreRequest, ScoreResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def score(request: ScoreRequest, context: Context) -> ScoreResponse:
    """Score the regions of one shard; images, maps and weights are read only when a column needs the model."""
    reads = [request.shard.regions]
    if needs_model(columns_of(request)):
        if not request.HasField("model"):
            names = ", ".join(column.column for column in request.columns)
            raise BadInput(f"ScoreRequest.model: missing, and the columns ({names}) need one; name a model")
        reads += [request.manifest, request.model.weights, request.shard.maps]
        reads += await inputs.images(context, request.manifest, request.shard.images)
        reads += await inputs.maps(context, [request.shard])
    response = await context.compute("services.scorer.compute:score", request, reads)
    assert isinstance(response, ScoreResponse)  # noqa: S101  # what the function above returns
    return response


METHODS: tuple[Method, ...] = (
    Method(
        name="Score",
        service="tessera.v1.ScorerService",
        verb="score",
        request=ScoreRequest,
        response=ScoreResponse,
        handler=score,
        algorithm="score/1",
        timeout_seconds=600.0,
    ),
)
