"""``tessera export model``: the model of a run as a file that other tools read, with what they have to know."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tessera.cli.export import new, run_id, stack_of, view_of, write
from tessera.errors import BadInput, nearest

if TYPE_CHECKING:
    from tessera.formats.manifests import DatasetManifest
    from tessera.pb.common_pb2 import ModelRef
    from tessera.pb.runs_pb2 import RoundView, RunView
    from tessera.runtime.objects import ObjectStore

FORMATS: Final = ("safetensors", "onnx")
MEAN: Final = (0.485, 0.456, 0.406)
DEVIATION: Final = (0.229, 0.224, 0.225)
"""Of ImageNet's images in 0..1, red first (`models.mobilenetv2.backbone_input`)."""


def model(out: Path, to: Path, round_: int | None, format_: str, nats: str | None, store: str | None) -> str:
    """Write a run's model and its description to the new folder ``to``; return a sentence on them."""
    from tessera.cli.audit import servers

    if format_ not in FORMATS:
        raise BadInput(f"--format {format_!r}: unknown; {nearest(format_, FORMATS)}")
    if format_ == "onnx":
        from tessera.formats import onnx_models

        onnx_models.require()
    run = run_id(out)
    new(to)
    with servers(stack_of(out, nats), nats, store) as (url, token, objects):
        view, stored = asyncio.run(view_of(run, url, token, objects))
        return asyncio.run(_model(view, to, round_, format_, stored))


async def _model(view: RunView, to: Path, round_: int | None, format_: str, store: ObjectStore) -> str:
    from tessera.formats import manifests

    complete = {one.round: one for one in view.rounds if one.complete}
    wanted = max(complete, default=-1) if round_ is None else round_
    if wanted not in complete:
        known = ", ".join(map(str, complete)) or "none"
        raise BadInput(f"--round {wanted}: not a complete round of {view.spec.run_id}; complete: {known}")
    found = complete[wanted]
    ref = found.reported if found.HasField("reported") else found.model
    weights = await store.get(ref.weights)
    dataset = manifests.dataset_from_json(await store.get(view.spec.dataset.manifest))
    told = _description(view, found, ref, dataset)
    data = weights if format_ == "safetensors" else await asyncio.to_thread(_onnx, ref, weights, dataset, told)
    described = json.dumps(told, indent=1).encode() + b"\n"
    await asyncio.to_thread(write, to, [(f"model.{format_}", data), ("model.json", described)])
    return f"{to}: round {wanted} of {view.spec.run_id}, {ref.architecture.name}, {len(data):,} bytes of {format_}"


def _description(view: RunView, found: RoundView, ref: ModelRef, dataset: DatasetManifest) -> dict[str, Any]:
    """Return what a user of the model has to know, and where it comes from."""
    from tessera.loop.summary import quality

    return {
        "run": view.spec.run_id,
        "round": found.round,
        "architecture": {"name": ref.architecture.name, **json.loads(ref.architecture.parameters or "{}")},
        "outputs": ref.classes,
        "classes": list(view.spec.class_names),
        "colors": [list(one.color) for one in dataset.classes],
        "input": f"uint8 RGB, scaled to 0..1, less mean {MEAN}, by deviation {DEVIATION}",
        "mean": list(MEAN),
        "deviation": list(DEVIATION),
        "sha256": ref.weights.sha256,
        **{counts.split: quality(counts) for counts in found.splits},
    }


def _onnx(ref: ModelRef, weights: bytes, dataset: DatasetManifest, told: dict[str, Any]) -> bytes:
    """Return the network as evaluation uses it, with the description as texts: those that are no text as JSON."""
    from tessera.formats import checkpoints, onnx_models

    network = checkpoints.build_model(ref.architecture, ref.classes, weights, f"weights {ref.weights.key}")
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    texts["input"] = "image: uint8 RGB, (batch, height, width, 3), as decoded; the network normalises it itself"
    return onnx_models.dump(network, len(dataset.classes), texts)
