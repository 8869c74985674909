"""What the trainer's compute child runs."""

from __future__ import annotations

from services.trainer.extras import extras
from tessera import models, training
from tessera.errors import BadInput
from tessera.formats import checkpoints, manifests, schemas, tables, weights
from tessera.formats.blobs import Blobs
from tessera.formats.media import PARQUET, SAFETENSORS
from tessera.formats.samples import from_answers, from_labels
from tessera.pb.common_pb2 import ModelRef
from tessera.pb.trainer_pb2 import TrainRequest, TrainResponse


def train(request: TrainRequest, blobs: Blobs) -> TrainResponse:
    """Build the network, train it on the answers and write weights and history."""
    architecture, classes = request.architecture, request.classes
    parameters = training.METHODS.parameters(request.training.name, request.training.parameters)
    view = str(getattr(parameters, "view", "images"))
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    ledgers = [tables.read(schemas.LEDGER, blobs.read(ref), f"ledger {ref.key}") for ref in request.ledgers]
    split = next((shard.images.split for shard in request.shards), "train")
    without_pixels = str(getattr(parameters, "without_pixels", "refuse"))
    samples = from_answers(dataset, split, ledgers, view, blobs, without_pixels)
    val = None
    if request.checkpoint_policy == "best_val":
        if not request.HasField("val_labels"):
            raise BadInput("TrainRequest: checkpoint best_val without val labels; give a split val or use last")
        labels = manifests.labels_from_json(blobs.read(request.val_labels))
        if labels.split != "val":
            raise BadInput(
                f"TrainRequest.val_labels: labels of split {labels.split}; a checkpoint is chosen by val only"
            )
        val = from_labels(dataset, labels, blobs)
    model = models.build(architecture.name, architecture.parameters, classes, seed=request.seed)
    if request.HasField("pretrained"):
        checkpoints.load_backbone(model, blobs.read(request.pretrained), f"weights {request.pretrained.key}")
    elif getattr(parameters, "frozen", False):
        blobs.progress(0.0, "the frozen backbone is random: its features mean little")
    trained = training.train(
        request.training.name,
        request.training.parameters,
        model,
        samples,
        request.seed,
        classes,
        val,
        request.checkpoint_policy or "last",
        blobs.progress,
        device(),
    )
    history = {name: [getattr(row, name) for row in trained.history] for name in schemas.HISTORY.names}
    state = weights.save(trained.state)
    made = ModelRef(architecture=architecture, classes=classes, weights=blobs.write(state, SAFETENSORS))
    return TrainResponse(
        model=made,
        extras=extras(parameters, made, state, dataset, split, ledgers, device(), blobs),
        history=blobs.write(tables.write(schemas.HISTORY, history), PARQUET),
        kept_epoch=trained.kept_epoch,
    )


def device() -> str:
    """Where to train: a CUDA device where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
