"""Evaluate: names the images, their labels and the weights; the counting happens in the compute child."""

from __future__ import annotations

from tessera.pb.evaluator_pb2 import EvaluateRequest, EvaluateResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def evaluate(request: EvaluateRequest, context: Context) -> EvaluateResponse:
    """Measure the model on one shard of a split."""
    dataset = await inputs.dataset(context, request.manifest)
    ids = [item.image_id for item in dataset.items(request.images)]
    images = await inputs.images(context, request.manifest, request.images)
    labels = await inputs.labels(context, request.labels, ids)
    reads = [request.manifest, request.labels, request.model.weights, *images, *labels]
    return await context.compute("services.evaluator.compute:evaluate", request, reads, EvaluateResponse)


METHODS: tuple[Method, ...] = (
    Method(
        name="Evaluate",
        service="tessera.v1.EvaluatorService",
        verb="evaluate",
        request=EvaluateRequest,
        response=EvaluateResponse,
        handler=evaluate,
        algorithm="evaluate/4",
        timeout_seconds=1800,
        threads=1,
    ),
)
