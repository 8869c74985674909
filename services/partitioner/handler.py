"""Partition: names what the computation reads; the images only where the method looks at pixels."""

from __future__ import annotations

from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.partitioner_pb2 import PartitionRequest, PartitionResponse
from tessera.regions.partition import needs_image
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def partition(request: PartitionRequest, context: Context) -> PartitionResponse:
    """Cut the images of one shard into regions."""
    images: list[ObjectRef] = []
    if needs_image(request.partition.name):
        images = await inputs.images(context, request.manifest, request.images)
    return await context.compute(
        "services.partitioner.compute:partition", request, [request.manifest, *images], PartitionResponse
    )


METHODS: tuple[Method, ...] = (
    Method(
        name="Partition",
        service="tessera.v1.PartitionerService",
        verb="partition",
        request=PartitionRequest,
        response=PartitionResponse,
        handler=partition,
        algorithm="partition/1",
        timeout_seconds=600,
    ),
)
