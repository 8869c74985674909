"""The phase of contrastive training: two losses, then the teacher and the memory bank move."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tessera.errors import BadInput
from tessera.models.network import SegmentationNetwork
from tessera.training.artefacts import Artefact, Tensors
from tessera.training.losses import IGNORE, cross_entropy
from tessera.training.memory_bank import MemoryBank, at_centres, hardest_vectors
from tessera.training.methods.contrastive.info_nce import info_nce, pick_anchors
from tessera.training.methods.supervised.phase import SupervisedPhase
from tessera.training.phase import Iteration, Setup, Update

if TYPE_CHECKING:
    from tessera.training.frozen import Maps
    from tessera.training.methods.contrastive.params import Contrastive


class ContrastivePhase(SupervisedPhase):
    """Train ``model``; ``teacher`` is its moving average, and ``bank`` holds the hardest correct pixels per class."""

    def __init__(self, params: Contrastive, setup: Setup) -> None:
        super().__init__(params, setup)
        self.contrast = params
        self.guide = self.model
        if params.teacher is not None:
            self.guide = copy.deepcopy(self.model).requires_grad_(False)
            self.modules = {"model": self.model, "teacher": self.guide}
            self.serves = {"acquisition": "model", "reported": "model", "features": "teacher"}
        bank = params.memory_bank
        self.bank = MemoryBank(setup.classes, bank.images * bank.per_image, _width(self.guide, bank.tap, setup.device))
        self.others = {"bank": self.bank}

    def begin_epoch(self) -> None:
        """Set modes as in supervised training; the teacher predicts with its own running statistics."""
        super().begin_epoch()
        if self.guide is not self.model:
            self.guide.eval()

    def step(self, at: Iteration) -> Iterator[Update]:
        """Yield one update by cross entropy and weighted InfoNCE; then move the teacher and fill the bank."""
        _, flip, _ = self.batches(at)["samples"]
        target = self.data.target(at.index, flip)
        maps = self.inputs.maps(at.index, flip)
        tap = self.contrast.memory_bank.tap
        with self.inputs.autocast():
            seen = taps(self.model, maps, (tap, "logits") if self._from_student else ("logits",))
        losses, counts = {"cross_entropy": cross_entropy(seen["logits"], target)}, {"bank": 1}
        if self.contrast.weight:
            nce = self._info_nce(seen, target, at.draws("contrast"))
            if nce is not None:
                # Another process may have all anchors of the batch: the sum of none is 0, with a gradient path.
                losses["info_nce"] = self.contrast.weight * (nce.mean() if len(nce) else nce.sum())
                counts["info_nce"] = len(nce)
        filled = float(self.bank.counts.sum())
        yield Update("model", losses, int((target != IGNORE).sum()), {"bank": filled}, counts)
        with torch.no_grad():
            if self.guide is not self.model:
                self._move_teacher()
                if not self.params.frozen:
                    maps = self._teacher_maps(at.index, flip)
                with self.inputs.autocast():
                    seen = taps(self.guide, maps, (tap, "logits"))
            self._fill(seen[tap], seen["logits"], target)

    def artefacts(self) -> Mapping[str, Artefact]:
        """Return ``memory_bank``, as the last iteration left it."""
        return {"memory_bank": Tensors(self.bank.contents())}

    @property
    def _from_student(self) -> bool:
        """Return whether the trained network's own vectors are needed: for the loss, or for the bank."""
        return self.contrast.weight > 0 or self.guide is self.model

    def _info_nce(self, seen: Mapping[str, Tensor], target: Tensor, rng: np.random.Generator) -> Tensor | None:
        vectors = seen["projection"]
        size = (vectors.shape[2], vectors.shape[3])
        predicted = _resized(seen["logits"].detach(), size).argmax(1)
        group = self.setup.group
        truth = [one.reshape(-1) for one in group.gather(_cells(target, size))]
        guess = [one.reshape(-1) for one in group.gather(predicted.cpu().numpy())]
        anchors = pick_anchors(np.concatenate(truth), np.concatenate(guess), self.contrast.anchors, rng)
        # Drawn from the whole batch; each process has the loss of those that lie in its own images.
        first = sum(len(one) for one in truth[: group.rank])
        last = first + len(truth[group.rank])
        mine = {label: cells[(cells >= first) & (cells < last)] - first for label, cells in anchors.items()}
        flat = vectors.permute(0, 2, 3, 1).reshape(-1, vectors.shape[1])
        return info_nce(flat, mine, self.bank, self.contrast, rng)

    def _move_teacher(self) -> None:
        """M_t ← α M_t + (1 − α) M_s, in weights and running statistics, but for a frozen backbone."""
        assert self.contrast.teacher is not None  # noqa: S101 - there is a teacher
        parts = ("head",) if self.params.frozen else ("backbone", "head")
        for part in parts:
            ours, theirs = getattr(self.guide, part).state_dict(), getattr(self.model, part).state_dict()
            for name, value in ours.items():
                if value.is_floating_point():
                    value.lerp_(theirs[name], 1.0 - self.contrast.teacher)
                else:
                    value.copy_(theirs[name])

    def _teacher_maps(self, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> Maps:
        with self.inputs.autocast():
            low, high = self.guide.features(self.data.inputs(index, flip))
        return low, high

    def _fill(self, vectors: Tensor, logits: Tensor, target: Tensor) -> None:
        """Push the hardest correct vectors per image and class, in the order of the batch of all processes."""
        size = (vectors.shape[2], vectors.shape[3])
        rows = zip(
            vectors.detach().float().cpu().numpy(),
            _resized(logits.detach(), size).cpu().numpy(),
            _cells(target, size),
            strict=True,
        )
        labels: list[int] = []
        found = [np.empty((0, vectors.shape[1]), np.float32)]
        for one, scores, truth in rows:
            for label, hardest in hardest_vectors(one, scores, truth, self.contrast.memory_bank.per_image):
                labels += [label] * len(hardest)
                found.append(hardest)
        group = self.setup.group
        shared = zip(group.gather(np.array(labels, np.int64)), group.gather(np.concatenate(found)), strict=True)
        for classes, rows_of in shared:
            for label in np.unique(classes).tolist():
                self.bank.push(label, rows_of[classes == label])


def taps(model: SegmentationNetwork, maps: Maps, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the head's maps by name, and the deepest map as ``backbone``."""
    low, high = maps
    inner = [name for name in names if name != "backbone"]
    found = {"backbone": high, **model.head.taps(low, high, inner)}
    if missing := [name for name in names if name not in found]:
        raise BadInput(
            f"training contrastive: the model has no {missing[0]} map; set model.projection_head: 128, or "
            "training.weight to 0 and training.memory_bank.tap to decoder"
        )
    return found


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)


def _cells(target: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the target's (N, H, W) values at the centres of a grid of ``size`` cells."""
    return np.stack([at_centres(one, size) for one in target.cpu().numpy()])


def _width(model: nn.Module, tap: str, device: torch.device) -> int:
    """Return the number of channels of the map ``tap``."""
    assert isinstance(model, SegmentationNetwork)  # noqa: S101 - narrows for the type checker
    with torch.no_grad():
        blank = torch.zeros(1, 3, 64, 64, device=device)
        return taps(model.eval(), model.features(blank), (tap, "logits"))[tap].shape[1]
