"""Networks ↔ safetensors bytes, strictly: every key and shape must match, and the first that does not is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tessera import models
from tessera.errors import BadInput
from tessera.formats import weights
from tessera.pb.common_pb2 import AxisValue, ObjectRef

if TYPE_CHECKING:
    from torch import nn

    from tessera.models.network import SegmentationNetwork


def build_model(architecture: AxisValue, classes: int, data: bytes, name: str) -> SegmentationNetwork:
    """Build the network and load ``data`` into it; eval mode, float32.

    BadInput names the file, the first missing, unexpected or mis-shaped key and the remedy.
    """
    model = models.build(architecture.name, architecture.parameters, classes)
    what = f"{architecture.name} with {classes} classes"
    _load_strictly(model, weights.load(data, name), name, what)
    return model


def start(
    architecture: AxisValue, classes: int, seed: int, pretrained: ObjectRef | None, read: Callable[[ObjectRef], bytes]
) -> SegmentationNetwork:
    """Build a network as training starts it: the backbone pretrained, where weights are named, all else from ``seed``.

    BadInput as in `models.build` and `load_backbone`.
    """
    model = models.build(architecture.name, architecture.parameters, classes, seed=seed)
    if pretrained is not None:
        load_backbone(model, read(pretrained), f"weights {pretrained.key}")
    return model


def load_backbone(model: SegmentationNetwork, data: bytes, name: str) -> None:
    """Load published weights with their names (``features.0.0.weight``, …) into ``model.backbone``, in place.

    Entries that the backbone names ``unused`` (the ImageNet classifier, and the last 1×1 convolution where the network
    has none) are dropped; all others must match exactly.
    """
    known = model.backbone.state_dict()
    given = weights.load(data, name).items()
    tensors = {key: value for key, value in given if key in known or not key.startswith(model.backbone.unused)}
    _load_strictly(model.backbone, tensors, name, "the backbone")


def dump_model(model: nn.Module) -> bytes:
    """Encode every parameter and buffer of ``model``. BadInput: a value is NaN or infinite."""
    return weights.save({key: value.detach().cpu().numpy() for key, value in model.state_dict().items()})


def _load_strictly(module: nn.Module, tensors: Mapping[str, NDArray[Any]], name: str, what: str) -> None:
    import torch

    expected = module.state_dict()
    remedy = "give weights that were made for this architecture and number of classes"
    _refuse(name, what, "is missing", (key for key in expected if key not in tensors), remedy)
    _refuse(name, what, "is unexpected", (key for key in tensors if key not in expected), remedy)
    for key, value in expected.items():
        if tuple(tensors[key].shape) != tuple(value.shape):
            shapes = f"{tuple(tensors[key].shape)} instead of {tuple(value.shape)}"
            raise BadInput(f"{name}: does not fit {what}: {key!r} has shape {shapes}; {remedy}")
    # Copied and widened: the file's arrays are read-only views and may be float16.
    converted = {key: torch.from_numpy(np.array(tensors[key])).to(value.dtype) for key, value in expected.items()}
    module.load_state_dict(converted, strict=True)


def _refuse(name: str, what: str, problem: str, keys: Iterable[str], remedy: str) -> None:
    first = next(iter(keys), None)
    if first is not None:
        raise BadInput(f"{name}: does not fit {what}: {first!r} {problem}; {remedy}")
