"""Partition: its reads and its compute function."""

from __future__ import annotations

from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.partitioner_pb2 import PartitionRequest, PartitionResponse
from tessera.regions.partition import needs_image
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def partition_reads(request: PartitionRequest, context: Context) -> list[ObjectRef]:
    """Name the images of one shard, only where the method reads pixels."""
    images: list[ObjectRef] = []
    if needs_image(request.partition.name):
        images = await inputs.images(context, request.manifest, request.images)
    return [request.manifest, *images]


def partition(request: PartitionRequest, blobs: Blobs) -> PartitionResponse:
    """Cut the images of one shard into regions."""
    from services.partitioner import compute

    return compute.partition(request, blobs)


LIBRARIES = ("services.partitioner.compute", "cv2")

METHODS: tuple[Method, ...] = (
    Method(
        "tessera.v1.PartitionerService/Partition",
        partition_reads,
        partition,
        algorithm="partition/1",
        timeout_seconds=600,
    ),
)
