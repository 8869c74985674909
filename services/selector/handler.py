"""The selector's one method."""

from __future__ import annotations

from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.selector_pb2 import SelectRequest, SelectResponse
from tessera.runtime.method import Context, Method


async def select_reads(request: SelectRequest, context: Context) -> list[ObjectRef]:
    """Name tables alone: the selector never sees an image, a map or a label."""
    reads = [shard.regions for shard in request.shards]
    reads += [*request.scores, *request.ledgers]
    if request.HasField("candidates"):
        reads.append(request.candidates)
    if request.HasField("manifest"):
        reads.append(request.manifest)
    if request.HasField("embedding"):
        reads.append(request.embedding)
    return reads


def select(request: SelectRequest, blobs: Blobs) -> SelectResponse:
    """Choose regions from tables."""
    from services.selector import compute

    return compute.select(request, blobs)


LIBRARIES = (
    "services.selector.compute",
    "tessera.acquisition.clustering.d2_sampling",
    "tessera.acquisition.clustering.kmeans",
    "tessera.acquisition.clustering.lazy_distances_kernel",
    "tessera.acquisition.clustering.lloyd_kernel",
    "tessera.acquisition.clustering.seeding_kernel",
    "tessera.acquisition.neighbours.nearest_centre",
)

METHODS: tuple[Method, ...] = (
    Method(
        "tessera.v1.SelectorService/Select",
        select_reads,
        select,
        # 2: k-means++ over more than four million pairs draws by pruning.
        algorithm="select/3",
        timeout_seconds=600.0,
    ),
)
