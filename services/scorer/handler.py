"""Score and Ask: their reads and compute functions. Both run the current model."""

from __future__ import annotations

from services.scorer.columns import columns_of
from tessera.acquisition.scoring.region_scores import needs_images, needs_model
from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.formats.blobs import Blobs
from tessera.formats.shards import split_of
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.scorer_pb2 import AskRequest, AskResponse, ScoreRequest, ScoreResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def score_reads(request: ScoreRequest, context: Context) -> list[ObjectRef]:
    """Name the regions of one shard; images, maps and weights only when a column needs them."""
    reads = [request.shard.regions]
    columns = columns_of(request)
    if needs_model(columns):
        if not request.HasField("model"):
            names = ", ".join(column.column for column in request.columns)
            raise BadInput(f"ScoreRequest.model: missing, and the columns ({names}) need one; name a model")
        reads.append(request.model.weights)
    if needs_images(columns):
        reads += [request.manifest, request.shard.maps, *(one.weights for one in request.auxiliary)]
        reads += await inputs.images(context, request.manifest, request.shard.images)
        reads += await inputs.maps(context, [request.shard])
    return reads


def score(request: ScoreRequest, blobs: Blobs) -> ScoreResponse:
    """Score every region of the shard."""
    from services.scorer import compute

    return compute.score(request, blobs)


LIBRARIES = ("services.scorer.compute", "tessera.models.*", "tessera.acquisition.scoring.*", "torch", "numba")


async def ask_reads(request: AskRequest, context: Context) -> list[ObjectRef]:
    """Name the region maps of the selected images; the images and the model where a starting point is offered."""
    selection = tables.read(schemas.SELECTION, await context.fetch(request.selection), "selection")
    ids = list(dict.fromkeys(str(image_id) for image_id in selection["image_id"]))
    reads = [request.manifest, request.selection, *[shard.maps for shard in request.shards]]
    reads += await inputs.maps(context, list(request.shards), ids)
    if request.HasField("model"):
        reads.append(request.model.weights)
    if request.HasField("model") or request.superpixels:
        reads += await inputs.images_by_id(context, request.manifest, split_of(request.shards), ids)
    return reads


def ask(request: AskRequest, blobs: Blobs) -> AskResponse:
    """Draw up the questions about every selected region."""
    from tessera.formats import asking

    return asking.ask(request, blobs)


METHODS: tuple[Method, ...] = (
    Method("tessera.v1.ScorerService/Score", score_reads, score, algorithm="score/4", timeout_seconds=600.0),
    Method("tessera.v1.ScorerService/Ask", ask_reads, ask, algorithm="ask/1", timeout_seconds=3600.0),
)
