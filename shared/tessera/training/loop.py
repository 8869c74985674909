"""The training loop, top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.errors import BadInput
from tessera.models.network import SegmentationNetwork, channels_last, seeded
from tessera.models.precision import fast_dtype
from tessera.models.predictor import Predictor
from tessera.training import Epoch, Progress, Sample, Trained
from tessera.training.data import SampleSet, WindowSet, batches
from tessera.training.frozen import FrozenMaps
from tessera.training.losses import cross_entropy
from tessera.training.validation import Validator

if TYPE_CHECKING:
    from tessera.training.methods.supervised import Schedule, Supervised


def run(
    params: Supervised,
    model: SegmentationNetwork,
    samples: Sequence[Sample],
    seed: int,
    classes: int,
    val: Sequence[Sample] | None,
    progress: Progress,
    device_name: str,
) -> Trained:
    """Train ``model`` in place; see ``tessera.training.train`` for what holds."""
    device = torch.device(device_name)
    dtype = {"auto": fast_dtype(device), "float32": torch.float32, "bf16": torch.bfloat16}[params.precision]
    rng = np.random.default_rng(seed)  # order and flips; torch's own state (head, dropout) is set by seeded()
    with seeded(seed):
        model.head.reset_parameters()
        for module in model.head.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = params.head_norm_momentum
        channels_last(model.to(device))
        model.backbone.requires_grad_(not params.frozen)
        model.head.requires_grad_(True)
        optimiser = _optimiser(params, [p for p in model.parameters() if p.requires_grad])

        kind = WindowSet if params.view == "windows" else SampleSet
        data = kind(samples, device, dtype if params.frozen else torch.float32)
        if params.view != "images":
            model.head.trained_on(*_map_size(model, data))
        forward = _forward(params, model, data, dtype)
        validator = Validator(model, val, classes, device, dtype, params.frozen) if val else None

        steps = len(batches(len(samples), params.batch, np.random.default_rng(0)))
        history: list[Epoch] = []
        kept: tuple[float, int, dict[str, NDArray[Any]]] | None = None
        for epoch in range(1, params.epochs + 1):
            model.train()
            model.backbone.train(params.backbone_norm == "train")
            rate = params.lr
            total, pixels = 0.0, 0
            for step, index in enumerate(batches(len(samples), params.batch, rng)):
                flip = rng.random(len(index)) < (0.5 if params.augment.flip else 0.0)
                rate = params.lr * factor(params.schedule, epoch - 1, step, steps, params.epochs)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                target = data.target(index, flip)
                loss = cross_entropy(forward(index, flip), target)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimiser.step()
                labelled = int((target != 255).sum())
                total, pixels = total + float(loss.detach()) * labelled, pixels + labelled
            mean = total / max(pixels, 1)
            if not math.isfinite(mean):
                raise BadInput(
                    f"training: the loss became {mean} in epoch {epoch}; lower training.lr (now {params.lr:g})"
                    " or set training.precision=float32"
                )
            miou = validator.miou() if validator else math.nan
            history.append(Epoch(epoch, mean, rate, miou))
            if validator and (kept is None or miou > kept[0]):
                kept = (miou, epoch, _state(model))
            progress(epoch / params.epochs, f"epoch {epoch}/{params.epochs}, loss {mean:.3f}")
    model.eval()
    if kept is None:
        return Trained(_state(model), tuple(history), params.epochs)
    return Trained(kept[2], tuple(history), kept[1])


def factor(schedule: Schedule, epoch: int, step: int, steps: int, epochs: int) -> float:
    """Multiplier of the learning rate in ``epoch`` (from 0) at ``step`` of ``steps``."""
    if schedule.name == "step":
        return float(schedule.gamma ** (epoch // schedule.every))
    if schedule.name == "poly":
        return float((1.0 - (epoch * steps + step) / (epochs * steps)) ** schedule.power)
    return 1.0


def _optimiser(params: Supervised, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    if params.optimiser == "sgd":
        return torch.optim.SGD(parameters, params.lr, momentum=params.momentum, weight_decay=params.weight_decay)
    kind = torch.optim.AdamW if params.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, params.lr, weight_decay=params.weight_decay, fused=True)


def _map_size(model: SegmentationNetwork, data: SampleSet) -> tuple[int, int]:
    """Height and width of the deepest map of one sample."""
    with torch.no_grad():
        blank = torch.zeros(1, 3, *data.context, device=data.device)
        _, high = model.eval().features(blank)
    return high.shape[2], high.shape[3]


def _forward(
    params: Supervised, model: SegmentationNetwork, data: SampleSet, dtype: torch.dtype
) -> Callable[[NDArray[np.int64], NDArray[np.bool_]], Tensor]:
    """Batch indices and flips → logits at stride 4, by cached maps when the backbone is frozen."""
    autocast = torch.autocast(data.device.type, dtype, enabled=dtype != torch.float32)
    if params.frozen:
        predictor = Predictor(model, data.device, dtype)
        maps = FrozenMaps(data, predictor, params.augment.flip, params.cache_features)

        def frozen(index: NDArray[np.int64], flip: NDArray[np.bool_]) -> Tensor:
            low, high = maps(index, flip)
            with autocast:
                logits: Tensor = model.head(low, high, data.offsets(index, flip))
            return logits

        return frozen

    def tuned(index: NDArray[np.int64], flip: NDArray[np.bool_]) -> Tensor:
        with autocast:
            logits: Tensor = model.head(*model.features(data.inputs(index, flip)))
        return logits

    return tuned


def _state(model: SegmentationNetwork) -> dict[str, NDArray[Any]]:
    return {key: value.detach().cpu().contiguous().numpy().copy() for key, value in model.state_dict().items()}
