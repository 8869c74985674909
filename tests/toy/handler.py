"""A service for tests of the frame: the scorer's messages, a computation that does what its first column says."""

from __future__ import annotations

import os

from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.scorer_pb2 import ScoreRequest, ScoreResponse
from tessera.runtime.method import Context, Method


async def score_reads(request: ScoreRequest, context: Context) -> list[ObjectRef]:
    return [request.manifest] if request.HasField("manifest") else []


def score(request: ScoreRequest, blobs: Blobs) -> ScoreResponse:
    from toy import compute

    return compute.score(request, blobs)


METHODS: tuple[Method, ...] = (
    Method(
        "tessera.v1.ScorerService/Score",
        score_reads,
        score,
        algorithm=os.environ.get("TOY_ALGORITHM", "toy/1"),
        timeout_seconds=20,
        checkpoints="TOY_CHECKPOINTS" in os.environ,
    ),
)
