"""Losses of s4GAN, and the inputs of its discriminator (Mittal et al. 2019, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.training.distributed import ALONE, Processes
from tessera.training.losses import IGNORE


def scaled(rgb: Tensor) -> Tensor:
    """Scale images uint8 (N, H, W, 3) to float32 (N, 3, H, W), each to 0..1 by its own least and greatest value.

    The published code scales the images beside true labels by the range of another batch; that is not repeated here.
    """
    values = rgb.permute(0, 3, 1, 2).float()
    least = values.amin(dim=(1, 2, 3), keepdim=True)
    span = values.amax(dim=(1, 2, 3), keepdim=True) - least
    return (values - least) / span.clamp(min=1.0)


def one_hot(target: Tensor, classes: int) -> Tensor:
    """Return labels uint8 (N, H, W) as float32 (N, classes, H, W); pixels that are 255 are 0 in every class."""
    planes = torch.arange(classes, device=target.device).view(1, classes, 1, 1)
    return (target[:, None] == planes).float()


def feature_matching(real: Tensor, fake: Tensor, group: Processes = ALONE) -> Tensor:
    """Return the mean of |mean of real − mean of fake| over features (N, D) and (M, D) of D (Eq. 3).

    The means are those of all processes, since the loss is no mean over images.
    """
    return (group.mean_row(real) - group.mean_row(fake)).abs().mean()


def self_training(logits: Tensor, accepted: Tensor, shown: Tensor) -> Tensor:
    """Return the mean of −log softmax(z)[argmax z] over the pixels of the accepted images (Eq. 4); 0 without any.

    Logits (N, C, H, W), accepted (N,) bool, shown (N, H, W) bool: padding is left out. The labels take no gradient, and
    every pixel counts, however uncertain.
    """
    kept = logits[accepted]
    if not len(kept):
        return logits.sum() * 0.0
    labels = kept.detach().argmax(1).masked_fill(~shown[accepted], IGNORE)
    total = F.cross_entropy(kept, labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp(min=1)


def adversarial(fake: Tensor, real: Tensor) -> Tensor:
    """Return ½ (−mean log(1 − σ(fake)) − mean log σ(real)) of D's logits (N,) and (M,) (Eq. 1)."""
    zeros, ones = torch.zeros_like(fake), torch.ones_like(real)
    return 0.5 * (F.binary_cross_entropy_with_logits(fake, zeros) + F.binary_cross_entropy_with_logits(real, ones))


def accepted_by_class(logits: Tensor, accepted: Tensor, shown: Tensor, group: Processes = ALONE) -> dict[str, float]:
    """Return, per predicted class, the share of its pixels that lie in accepted images of all processes.

    Classes that none predicts are left out.
    """
    classes = logits.shape[1]
    labels = logits.detach().argmax(1)
    there = torch.bincount(labels[shown], minlength=classes)
    kept = torch.bincount(labels[shown & accepted[:, None, None]], minlength=classes)
    counted = group.sums([*kept.tolist(), *there.tolist()])
    pairs = zip(counted[:classes], counted[classes:], strict=True)
    return {f"accepted_class_{index}": part / whole for index, (part, whole) in enumerate(pairs) if whole}


class RunningShare:
    """Exponential mean of the share of accepted images; the first value counts whole."""

    def __init__(self, keep: float = 0.9) -> None:
        self._keep = keep
        self.value: float | None = None

    def add(self, share: float) -> float:
        """Count one step and return the mean."""
        self.value = share if self.value is None else self._keep * self.value + (1 - self._keep) * share
        return self.value

    def state_dict(self) -> dict[str, Any]:
        """Return the mean; nothing before the first step."""
        return {} if self.value is None else {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self.value = float(state["value"]) if "value" in state else None
