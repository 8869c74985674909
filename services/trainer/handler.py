"""Train and Discriminate: name the objects that a training reads; the child trains."""

from __future__ import annotations

from tessera import training
from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.trainer_pb2 import DiscriminateRequest, DiscriminateResponse, TrainRequest, TrainResponse
from tessera.runtime import inputs
from tessera.runtime.method import Context, Method


async def train_reads(request: TrainRequest, context: Context) -> list[ObjectRef]:
    """Name the answers of all rounds so far and their images; val labels only where the request brings them."""
    split, ids = await _asked(request, context)
    reads: list[ObjectRef] = [request.manifest, *request.ledgers]
    reads += await inputs.answers(context, request.ledgers)
    reads += await inputs.images_by_id(context, request.manifest, split, ids)
    if request.HasField("pretrained"):
        reads.append(request.pretrained)
    if request.HasField("val_labels"):
        dataset = await inputs.dataset(context, request.manifest)
        val = [item.image_id for item in dataset.split("val")]
        reads += [request.val_labels, *(item.image for item in dataset.split("val"))]
        reads += await inputs.labels(context, request.val_labels, val)
    needs = training.parameters(request.training.name, request.training.parameters).needs()
    reads += await _needed(request, context, needs, ids)
    if request.HasField("previous"):
        reads.append(request.previous.weights)
    return reads


def train(request: TrainRequest, blobs: Blobs) -> TrainResponse:
    """Train on the answers of all rounds so far."""
    from services.trainer import compute

    return compute.train(request, blobs)


async def _needed(request: TrainRequest, context: Context, needs: training.Needs, asked: list[str]) -> list[ObjectRef]:
    """Name region maps of answered images and unlabelled images of the pool, as far as the method needs them."""
    reads: list[ObjectRef] = []
    if needs.view == "regions":
        reads += [shard.maps for shard in request.shards]
        reads += await inputs.maps(context, request.shards, asked)
    if needs.unlabelled in ("unasked", "pool"):
        for shard in request.shards:
            reads += await inputs.images(context, request.manifest, shard.images)
    return reads


async def _asked(request: TrainRequest, context: Context) -> tuple[str, list[str]]:
    """Return the split of the pool and the images with an answer, each once."""
    splits = {shard.images.split for shard in request.shards} or {"train"}
    if len(splits) != 1:
        names = ", ".join(sorted(splits))
        raise BadInput(f"TrainRequest.shards: come from several splits ({names}); give shards of one split")
    ids: dict[str, None] = {}
    for ledger in request.ledgers:
        table = tables.read(schemas.LEDGER, await context.fetch(ledger), f"ledger {ledger.key}", ("image_id",))
        ids.update(dict.fromkeys(str(image_id) for image_id in table["image_id"]))
    return splits.pop(), list(ids)


async def discriminate_reads(request: DiscriminateRequest, context: Context) -> list[ObjectRef]:
    """Name the images of the pool, and the ledgers, of which only region keys are read."""
    reads: list[ObjectRef] = [request.manifest, *request.ledgers, *(shard.regions for shard in request.shards)]
    for shard in request.shards:
        reads += await inputs.images(context, request.manifest, shard.images)
    if request.HasField("model"):
        reads.append(request.model.weights)
    return reads


def discriminate(request: DiscriminateRequest, blobs: Blobs) -> DiscriminateResponse:
    """Train an auxiliary network on the images of the pool."""
    from services.trainer import discriminate

    return discriminate.discriminate(request, blobs)


# Registries import their modules when a value is asked for, and the first optimizer imports torch._dynamo: seconds.
LIBRARIES = ("services.trainer.compute", "tessera.models.*", "tessera.training.*", "torch._dynamo")
METHODS: tuple[Method, ...] = (
    Method(
        "tessera.v1.TrainerService/Train",
        train_reads,
        train,
        algorithm="train/4",
        timeout_seconds=6 * 3600,
        threads=0,
        checkpoints=True,
    ),
    Method(
        "tessera.v1.TrainerService/Discriminate",
        discriminate_reads,
        discriminate,
        algorithm="discriminate/4",
        timeout_seconds=2 * 3600,
        threads=0,
    ),
)
