"""Several processes of one machine train one network: each takes its part of every batch; they step as one would.

A recipe's ``batch`` is that of all processes together, so their number changes no job key, and results by rounding
alone. Losses are means over what `Update.weight` counts; with w_r of it in process r and W in all, the gradient of the
whole batch is Σ_r (w_r / W) ∇L_r. Batch norm takes the whole batch's statistics (`share_batch_norm`). Every process
draws for the whole batch, so all random streams stay equal, and the state of the first is the state of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Processes:
    """The processes of one training; the default is this one alone. ``rank`` 0 tells, validates and keeps."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def part(self, count: int) -> slice:
        """Return which of ``count`` rows are this process's: parts differ by one row at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def means(self, values: Mapping[str, float], weight: float, device: torch.device) -> tuple[dict[str, float], float]:
        """Return means of numbers over all processes, weighted by ``weight``, and the sum of the weights."""
        if self.size == 1:
            return dict(values), weight
        given = [weight, *(value * weight for value in values.values())]
        sums = torch.tensor(given, dtype=torch.float64, device=device)
        dist.all_reduce(sums)
        total, *rest = sums.tolist()
        return {key: one / total if total else 0.0 for key, one in zip(values, rest, strict=True)}, total

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over all processes."""
        gradients = [one.grad for one in parameters if one.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([one.reshape(-1) for one in gradients])
        dist.all_reduce(flat)
        start = 0
        for one in gradients:
            one.copy_(flat[start : start + one.numel()].view_as(one))
            start += one.numel()

    def begin(self, modules: Iterable[nn.Module]) -> None:
        """Let the processes train ``modules`` as one: equal weights at the start, and batch norm over whole batches."""
        if self.size == 1:
            return
        for module in modules:
            share_batch_norm(module)
            for tensor in module.state_dict().values():
                sent = tensor.contiguous()  # weights may be channels-last
                dist.broadcast(sent, 0)
                tensor.copy_(sent)


ALONE = Processes()


class _Sum(torch.autograd.Function):
    """Sum over all processes. Every process's loss depends on every other's part of it: gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm by mean and variance of what all processes see; in eval mode the plain one."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W); N may differ between the processes."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        count = torch.tensor([values.numel() / values.shape[1]], device=values.device)
        sums: Tensor = _Sum.apply(torch.cat([values.sum((0, 2, 3)), count]))  # type: ignore[no-untyped-call]
        number = sums[-1].detach()
        mean = sums[:-1] / number
        centred = values - mean.view(1, -1, 1, 1)
        squares: Tensor = _Sum.apply(centred.square().sum((0, 2, 3)))  # type: ignore[no-untyped-call]
        variance = squares / number
        self._remember(mean.detach(), variance.detach() * number / (number - 1).clamp(min=1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        made = centred * scale.view(1, -1, 1, 1)
        return (made if not self.affine else made + self.bias.view(1, -1, 1, 1)).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as `torch.nn.BatchNorm2d` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        weight = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def share_batch_norm(module: nn.Module) -> None:
    """Turn every batch norm within ``module`` into a `SharedBatchNorm`; weights, names and optimisers stay."""
    for one in module.modules():
        if type(one) is nn.BatchNorm2d:
            one.__class__ = SharedBatchNorm
