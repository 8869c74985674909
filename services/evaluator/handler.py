"""Evaluate: name the images, their labels and the weights; the child counts."""

from __future__ import annotations

from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.evaluator_pb2 import EvaluateRequest, EvaluateResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def evaluate_reads(request: EvaluateRequest, context: Context) -> list[ObjectRef]:
    """Name the images of one shard of a split, their labels and the weights."""
    dataset = await inputs.dataset(context, request.manifest)
    ids = [item.image_id for item in dataset.items(request.images)]
    images = await inputs.images(context, request.manifest, request.images)
    labels = await inputs.labels(context, request.labels, ids)
    return [request.manifest, request.labels, request.model.weights, *images, *labels]


def evaluate(request: EvaluateRequest, blobs: Blobs) -> EvaluateResponse:
    """Evaluate the model on one shard of a split."""
    from services.evaluator import compute

    return compute.evaluate(request, blobs)


LIBRARIES = ("services.evaluator.compute", "tessera.models.*", "torch", "numba")

METHODS: tuple[Method, ...] = (
    Method(
        "tessera.v1.EvaluatorService/Evaluate", evaluate_reads, evaluate, algorithm="evaluate/4", timeout_seconds=1800
    ),
)
