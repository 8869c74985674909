"""The trainer's work in the compute child."""

from __future__ import annotations

import time
from functools import partial

from tessera import models, training
from tessera.errors import BadInput
from tessera.formats import checkpoints, manifests, schemas, tables, training_state, weights
from tessera.formats.blobs import Blobs
from tessera.formats.media import PARQUET, SAFETENSORS
from tessera.formats.samples import from_labels
from tessera.formats.training_data import gather, previous, write_artefact
from tessera.pb.common_pb2 import AxisValue, ModelRef
from tessera.pb.trainer_pb2 import TrainRequest, TrainResponse
from tessera.runtime import parted
from tessera.training.phase import State


def train(request: TrainRequest, blobs: Blobs) -> TrainResponse:
    """Build the network, train it on the answers and write weights and history."""
    architecture, classes = request.architecture, request.classes
    parameters = training.parameters(request.training.name, request.training.parameters)
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    ledgers = [tables.read(schemas.LEDGER, blobs.read(ref), f"ledger {ref.key}") for ref in request.ledgers]
    split = next((shard.images.split for shard in request.shards), "train")
    data = gather(dataset, split, ledgers, request.shards, parameters.needs(), blobs)
    val = None
    if request.checkpoint_policy == "best_val":
        if not request.HasField("val_labels"):
            raise BadInput(
                "TrainRequest: checkpoint best_val needs labels of split val; give them or use checkpoint last"
            )
        labels = manifests.labels_from_json(blobs.read(request.val_labels))
        if labels.split != "val":
            raise BadInput(
                f"TrainRequest.val_labels: labels of split {labels.split}; a checkpoint is chosen by val only"
            )
        val = from_labels(dataset, labels, blobs)
    outputs = classes + parameters.trains_undefined()
    of_measured = models.changed(architecture, parameters.measured_by())
    pretrained = request.pretrained if request.HasField("pretrained") else None
    start = partial(checkpoints.start, classes=outputs, seed=request.seed, pretrained=pretrained, read=blobs.read)
    model, measured = start(architecture), start(of_measured) if of_measured != architecture else None
    if parameters.freezes_backbone() and pretrained is None:
        blobs.progress(0.0, "the frozen backbone is random: its features mean little")
    cuda = device() == "cuda"
    alone = model.head.whole_image or not training.can_be_parted(request.training.name, parameters)
    size = parted.wanted(1 if alone else parameters.shared_rows(), cuda, blobs, request.training.name)
    with parted.together(f"{__name__}:train", request, blobs, size, cuda) as group:
        trained = training.train(
            request.training.name,
            request.training.parameters,
            model,
            data,
            request.seed,
            classes,
            val,
            request.checkpoint_policy or "last",
            blobs.progress,
            f"cuda:{group.rank}" if cuda and group.size > 1 else device(),
            request.acquisition_model or "kept",
            previous(request.previous, blobs) if request.HasField("previous") else None,
            time.perf_counter,
            training_state.earlier(blobs),
            lambda state: blobs.keep(training_state.save(state)),
            blobs.due,
            measured,
            group,
        )
    blobs.speed(trained.images_per_second)
    history = {name: [getattr(row, name) for row in trained.history] for name in schemas.HISTORY.names}
    losses = {name: [getattr(row, name) for row in trained.losses] for name in schemas.LOSSES.names}

    def stored(state: State | None, shape: AxisValue = architecture) -> ModelRef | None:
        if state is None:
            return None
        written = blobs.write(weights.save(state), SAFETENSORS)
        return ModelRef(architecture=shape, classes=outputs, weights=written)

    return TrainResponse(
        model=stored(trained.state),
        reported=stored(trained.reported, of_measured),
        features=stored(trained.features),
        extras={name: write_artefact(artefact, blobs) for name, artefact in trained.artefacts.items()},
        losses=blobs.write(tables.write(schemas.LOSSES, losses), PARQUET),
        history=blobs.write(tables.write(schemas.HISTORY, history), PARQUET),
        kept_epoch=trained.kept_epoch,
    )


def device() -> str:
    """Return the device to train on: CUDA where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
