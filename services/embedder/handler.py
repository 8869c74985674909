"""The embedder's methods: each names what its computation reads and hands it to the compute child."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from services.embedder.targets import read_targets
from tessera.acquisition import FEATURES
from tessera.errors import BadInput
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
from tessera.runtime.method import Context, Handler, Method


async def featurize(request: FeaturizeRequest, context: Context) -> FeaturizeResponse:
    """Describe the target regions; region maps are read only when the features look at them."""
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
    return await context.compute("services.embedder.compute:featurize", request, reads, FeaturizeResponse)


async def fit(request: FitRequest, context: Context) -> FitResponse:
    """Fit a projection on features, or on a memory bank."""
    reads = list(_refs(request.shards))
    if request.HasField("bank"):
        reads.append(request.bank)
    return await context.compute("services.embedder.compute:fit", request, reads, FitResponse)


async def project(request: ProjectRequest, context: Context) -> ProjectResponse:
    """Put features through a fitted projection."""
    reads = [request.projection, *_refs(request.shards)]
    return await context.compute("services.embedder.compute:project", request, reads, ProjectResponse)


def _refs(shards: Iterable[FeatureShard]) -> Iterable[ObjectRef]:
    for shard in shards:
        yield shard.features
        yield shard.targets


def _method(
    name: str,
    request: type[Message],
    response: type[Message],
    handler: Handler,
    timeout_seconds: float,
    threads: int,
    version: int = 1,
) -> Method:
    return Method(
        name=name,
        service="tessera.v1.EmbedderService",
        verb=name.lower(),
        request=request,
        response=response,
        handler=handler,
        algorithm=f"{name.lower()}/{version}",
        timeout_seconds=timeout_seconds,
        threads=threads,
    )


METHODS: tuple[Method, ...] = (
    _method("Featurize", FeaturizeRequest, FeaturizeResponse, featurize, 900.0, 1, 5),
    # All cores: results are the same bits on any number of them. umap-learn's own layout takes one by design, minutes
    # at 60,000 regions, and half of one to compile.
    _method("Fit", FitRequest, FitResponse, fit, 3600.0, 0, 3),
    _method("Project", ProjectRequest, ProjectResponse, project, 1800.0, 0, 3),
)
