"""A service for tests of the frame: the scorer's messages, a computation that does what its first column says."""

from __future__ import annotations

import os

from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.scorer_pb2 import ScoreRequest, ScoreResponse
from tessera.runtime.method import Context, Method


async def score(request: ScoreRequest, context: Context) -> ScoreResponse:
    reads: list[ObjectRef] = [request.manifest] if request.HasField("manifest") else []
    return await context.compute("toy.compute:score", request, reads, ScoreResponse)


METHODS: tuple[Method, ...] = (
    Method(
        name="Score",
        service="tessera.v1.ScorerService",
        verb="score",
        request=ScoreRequest,
        response=ScoreResponse,
        handler=score,
        algorithm=os.environ.get("TOY_ALGORITHM", "toy/1"),
        timeout_seconds=20,
    ),
)
