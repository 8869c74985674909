"""The embedder's methods: their reads and their compute functions."""

from __future__ import annotations

from collections.abc import Iterable

from services.embedder.targets import read_targets
from tessera.acquisition import FEATURES
from tessera.errors import BadInput
from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.embedder_pb2 import (
    FeatureShard,
    FeaturizeRequest,
    FeaturizeResponse,
    FitRequest,
    FitResponse,
    ProjectRequest,
    ProjectResponse,
)
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def featurize_reads(request: FeaturizeRequest, context: Context) -> list[ObjectRef]:
    """Name images and weights; region maps only when the features read them."""
    if not request.shards:
        raise BadInput("FeaturizeRequest.shards: empty; name the shards that hold the targets")
    image_ids, _ = read_targets(await context.fetch(request.targets))
    ids = list(dict.fromkeys(image_ids.tolist()))
    reads = [request.manifest, request.model.weights, request.targets]
    reads += [shard.regions for shard in request.shards]
    # All shards are cut from one split, the pool.
    reads += await inputs.images_by_id(context, request.manifest, request.shards[0].images.split, ids)
    entry = FEATURES.entry(request.features.name)
    if entry.traits.needs_maps(FEATURES.parameters(request.features.name, request.features.parameters)):
        reads += [shard.maps for shard in request.shards]
        reads += await inputs.maps(context, list(request.shards), ids)
    return reads


def featurize(request: FeaturizeRequest, blobs: Blobs) -> FeaturizeResponse:
    """Describe the target regions."""
    from services.embedder import compute

    return compute.featurize(request, blobs)


async def fit_reads(request: FitRequest, context: Context) -> list[ObjectRef]:
    """Name features, and the memory bank where there is one."""
    reads = list(_refs(request.shards))
    if request.HasField("bank"):
        reads.append(request.bank)
    return reads


def fit(request: FitRequest, blobs: Blobs) -> FitResponse:
    """Fit a projection on features, or on a memory bank."""
    from services.embedder import compute

    return compute.fit(request, blobs)


async def project_reads(request: ProjectRequest, context: Context) -> list[ObjectRef]:
    """Name features and a fitted projection."""
    return [request.projection, *_refs(request.shards)]


def project(request: ProjectRequest, blobs: Blobs) -> ProjectResponse:
    """Project features by a fitted projection."""
    from services.embedder import compute

    return compute.project(request, blobs)


def _refs(shards: Iterable[FeatureShard]) -> Iterable[ObjectRef]:
    for shard in shards:
        yield shard.features
        yield shard.targets


LIBRARIES = ("services.embedder.compute", "tessera.models.*", "tessera.acquisition.pooling.*", "torch", "numba", "umap")

METHODS: tuple[Method, ...] = (
    Method(
        "tessera.v1.EmbedderService/Featurize", featurize_reads, featurize, algorithm="featurize/5", timeout_seconds=900
    ),
    # All cores: results are the same bits on any number of them. umap-learn's own layout uses one core; it takes
    # minutes at 60,000 regions, and half a minute to compile.
    Method("tessera.v1.EmbedderService/Fit", fit_reads, fit, algorithm="fit/4", timeout_seconds=3600, threads=0),
    Method(
        "tessera.v1.EmbedderService/Project",
        project_reads,
        project,
        algorithm="project/3",
        timeout_seconds=1800,
        threads=0,
    ),
)
