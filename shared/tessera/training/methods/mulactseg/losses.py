"""Losses on pixels for which only the set Y of classes in their region is known (MulActSeg, section 3.2).

Throughout: ``log_p`` (P, K) log probabilities of the labelled pixels, ``region`` (P,) the row of each pixel's region,
``classes`` (R, K) bool the set Y of each region.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from tessera.training.distributed import Processes
    from tessera.training.methods.mulactseg.params import MulActSeg

Means = Literal["batch", "regions"]


def log_probabilities(logits: Tensor, size: tuple[int, int], places: Tensor) -> Tensor:
    """Return log softmax (P, K) of logits (N, K, h, w), upsampled bilinearly to ``size``, at ``places`` (P,) in
    N·H·W."""
    full = F.interpolate(logits.float().contiguous(), size=size, mode="bilinear", align_corners=False)
    return full.movedim(1, 3).reshape(-1, logits.shape[1])[places].log_softmax(1)


def merged_positive(log_p: Tensor, named: Tensor) -> Tensor:
    """Return −log Σ_{c∈Y} p_c of each pixel (Eq. 7); ``named`` (P, K) is Y. With one class in Y: cross entropy."""
    return -log_p.masked_fill(~named, -torch.inf).logsumexp(1)


def infimum(log_p: Tensor, named: Tensor) -> Tensor:
    """Return min_{c∈Y} −log p_c of each pixel (Cabannes et al. 2020)."""
    return -log_p.masked_fill(~named, -torch.inf).max(1).values


def risk_consistent(log_p: Tensor, named: Tensor) -> Tensor:
    """Return Σ_{c∈Y} w_c (−log p_c) of each pixel, w_c = p_c / Σ_{j∈Y} p_j without gradient (Feng 2020; Lv 2020).

    Feng et al.'s factor of ½ is left to the weight of the loss.
    """
    weights = log_p.detach().masked_fill(~named, -torch.inf).softmax(1)
    return -(weights * log_p.masked_fill(~named, 0.0)).sum(1)


SEVERAL = {
    "merged": ("merged_positive", merged_positive),
    "infimum": ("infimum", infimum),
    "rc": ("risk_consistent", risk_consistent),
}
"""Value of parameter ``several`` → the name of the loss part, and the loss of each pixel."""


def prototypical_pixels(log_p: Tensor, region: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return −log p_c(x*) for each region s and c in its Y, x* = arg max_{x∈s} p_c(x) (Eq. 8, 9), and the rows of s.

    Of equal pixels the first counts. The gradient reaches the pixels x* alone. Regions without a pixel have no pair.
    """
    rows = region[:, None].expand_as(log_p)
    with torch.no_grad():
        best = log_p.new_full(classes.shape, -torch.inf).scatter_reduce(0, rows, log_p, "amax")
        numbers = torch.arange(len(log_p), device=log_p.device)[:, None].expand_as(log_p)
        none = torch.full_like(classes, len(log_p), dtype=torch.int64)
        first = none.scatter_reduce(0, rows, numbers.where(log_p == best[region], none[region]), "amin")
    owner, wanted = (classes & (first < len(log_p))).nonzero(as_tuple=True)
    return -log_p[first[owner, wanted], wanted], owner


def mean(values: Tensor, owner: Tensor, regions: int, over: Means) -> tuple[Tensor, int]:
    """Return the mean of ``values`` (V,), or, ``over`` regions, the mean over owners of each owner's mean.

    And the number of values, or of owners, in that mean.
    """
    if over == "batch":
        return values.mean(), len(values)
    counts = torch.bincount(owner, minlength=regions)
    sums = values.new_zeros(regions).index_add(0, owner, values)
    owners = (counts > 0).sum()
    return (sums / counts.clamp(min=1)).sum() / owners, int(owners)


def partial_losses(
    log_p: Tensor, region: Tensor, classes: Tensor, shown: Tensor, params: MulActSeg
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the weighted parts of Eq. 10 by name, and how many things each averages (`mean`).

    A part without any pixel or with weight 0 is left out. ``shown`` (R,): the share of each region's pixels that are in
    the batch.
    """
    several, weights = classes.sum(1) > 1, params.weights
    single, named = ~several[region], classes[region]
    name, loss = SEVERAL[params.several]
    found: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for part, weight, of, one in (
        ("cross_entropy", weights.single, single, merged_positive),
        (name, weights.several, ~single, loss),
    ):
        if weight and bool(of.any()):
            value, counts[part] = mean(one(log_p[of], named[of]), region[of], len(classes), params.means)
            found[part] = weight * value
    if weights.prototypical:
        sought = classes & (several & (shown >= params.whole))[:, None]
        values, owner = prototypical_pixels(log_p, region, sought)
        if len(values):
            value, counts["prototypical_pixel"] = mean(values, owner, len(classes), params.means)
            found["prototypical_pixel"] = weights.prototypical * value
    return found, counts


def of_all_processes(
    losses: Mapping[str, Tensor], counts: Mapping[str, int], log_p: Tensor, params: MulActSeg, group: Processes
) -> dict[str, Tensor]:
    """Add to the parts of this process, as 0 with a gradient path, those that only other processes have."""
    if group.size == 1:
        return dict(losses)
    names = ("cross_entropy", SEVERAL[params.several][0], "prototypical_pixel")
    totals = zip(names, group.sums([counts.get(name, 0) for name in names]), strict=True)
    nothing = log_p.sum() * 0.0
    return {name: losses.get(name, nothing) for name, total in totals if total}
