"""The contrastive loss: anchors of a batch, positives and negatives of a memory bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tessera.training.checks import IGNORE

if TYPE_CHECKING:
    from tessera.training.memory_bank import MemoryBank
    from tessera.training.methods.contrastive.params import Contrastive

_POSITIVES = 512


def pick_anchors(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], count: int, rng: np.random.Generator
) -> dict[int, NDArray[np.intp]]:
    """Draw at most ``count`` anchors per class, as places in ``truth``, which holds 255 where unknown.

    Half of them (rounded down) come from the misclassified pixels, fewer where there are fewer; the others from the
    rest of the class. ``truth`` and ``predicted`` are (n,).
    """
    found = {}
    for label in np.unique(truth[truth != IGNORE]).tolist():
        cells = np.flatnonzero(truth == label)
        wrong = cells[predicted[cells] != label]
        hard = rng.permutation(wrong)[: count // 2]
        rest = rng.permutation(np.setdiff1d(cells, hard, assume_unique=True))[: count - len(hard)]
        found[int(label)] = np.concatenate([hard, rest])
    return found


def info_nce(
    vectors: Tensor,
    anchors: dict[int, NDArray[np.intp]],
    bank: MemoryBank,
    params: Contrastive,
    rng: np.random.Generator,
) -> Tensor | None:
    """Return InfoNCE (eq. 3) of each of ``anchors``, places in ``vectors`` (n, D) of length 1; None: no class is ready.

    A class is ready when its queue holds ``per_image`` vectors and the queues of other classes at least one. Anchors of
    one class share the draw of their positives and negatives. Gradients flow into the anchors alone: the bank is
    constant.
    """
    queues = [_unit(torch.from_numpy(bank.queue(label)), vectors) for label in range(len(bank.counts))]
    parts = []
    for label, cells in anchors.items():
        others = torch.cat([queue for other, queue in enumerate(queues) if other != label])
        if bank.counts[label] < params.memory_bank.per_image or not len(others):
            continue
        anchor = vectors[torch.from_numpy(cells).to(vectors.device)]
        positive = _positives(queues[label], params, rng)
        near = anchor @ others.T / params.temperature
        column = negative_columns(near.detach(), params.negatives, params.nearest, rng)
        negative = near.gather(1, column).logsumexp(1, keepdim=True)
        agree = anchor @ positive.T / params.temperature
        parts.append((torch.logaddexp(agree, negative) - agree).mean(1))
    return torch.cat(parts) if parts else None


def negative_columns(near: Tensor, count: int, share: float, rng: np.random.Generator) -> Tensor:
    """Draw the negatives of each anchor, (A, ≤ count) columns of its similarities ``near`` (A, n) to all candidates.

    Half are drawn from the nearest ``share`` of the candidates, half from all; fewer where there are not so many. A
    candidate may be among both.
    """
    total = near.shape[1]
    pool = max(1, int(np.ceil(share * total)))
    hard, random = count // 2, count - count // 2
    ranks = torch.from_numpy(rng.permutation(pool)[:hard]).to(near.device)
    drawn = torch.from_numpy(rng.permutation(total)[:random]).to(near.device)
    nearest = near.topk(pool, dim=1).indices[:, ranks]
    return torch.cat([nearest, drawn.expand(len(near), -1)], dim=1)


def _positives(queue: Tensor, params: Contrastive, rng: np.random.Generator) -> Tensor:
    """Return (1, D), the direction of the queue's mean, or (≤ 512, D) of its vectors."""
    if params.positives == "class_mean":
        return F.normalize(queue.mean(0, keepdim=True), dim=1)
    return queue[torch.from_numpy(rng.permutation(len(queue))[:_POSITIVES]).to(queue.device)]


def _unit(queue: Tensor, like: Tensor) -> Tensor:
    return F.normalize(queue.to(like.device, like.dtype), dim=1)
