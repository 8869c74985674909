"""What a training leaves beside its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tessera.formats import checkpoints, weights
from tessera.formats.blobs import Blobs
from tessera.formats.manifests import DatasetManifest
from tessera.formats.media import SAFETENSORS
from tessera.formats.samples import from_answers
from tessera.models.predictor import Predictor
from tessera.pb.common_pb2 import ModelRef, ObjectRef
from tessera.registry import Params
from tessera.training.memory_bank import MemoryBankParams, collect


def extras(
    parameters: Params,
    model: ModelRef,
    state: bytes,
    dataset: DatasetManifest,
    split: str,
    ledgers: Sequence[Mapping[str, Any]],
    device: str,
    blobs: Blobs,
) -> dict[str, ObjectRef]:
    """``memory_bank``, where the training method was asked for one: the kept model over the labelled images.

    ``state`` is the model's safetensors. Images are run whole, as the embedder runs them, whatever view was trained on.
    """
    wanted = getattr(parameters, "memory_bank", None)
    if not isinstance(wanted, MemoryBankParams):
        return {}
    network = checkpoints.build_model(model.architecture, model.classes, state, "the trained model")
    # Answers without pixels: the training itself has refused them, or was told to go on without.
    samples = from_answers(dataset, split, ledgers, "images", blobs, "skip")
    bank = collect(Predictor(network, device), samples, wanted, model.classes, blobs.progress)
    return {"memory_bank": blobs.write(weights.save(bank.contents()), SAFETENSORS)}
