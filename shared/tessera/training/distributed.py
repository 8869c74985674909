"""Several processes of one machine train one network: each takes its part of every batch; they step as one would.

A recipe's ``batch`` is that of all processes together, so their number changes no job key, and results by rounding
alone. A part of the loss is a mean over what `Update.counts` or `Update.weight` counts; with w_r of it in process r and
W in all, the gradient of the whole batch is Σ_r (w_r / W) ∇L_r. Batch norm takes the whole batch's statistics and
dropout draws the whole batch's mask (`share_layers`). Every process draws for the whole batch, so all random streams
stay equal, and the state of the first is the state of all.

Processes meet in every exchange, also in those of a backward pass. So each takes the same updates with the same parts,
from the same networks: a part that one process has nothing for is 0 there, with a gradient path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from tessera.models.dropout import Dropout


class Processes:
    """The processes of one training; the default is this one alone. ``rank`` 0 tells, validates and keeps."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def part(self, count: int) -> slice:
        """Return which of ``count`` rows are this process's: parts differ by one row at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return the sum over all processes of each number."""
        if self.size == 1 or not len(values):
            return list(values)
        made = torch.tensor(values, dtype=torch.float64, device=_device())
        dist.all_reduce(made)
        found: list[float] = made.tolist()
        return found

    def means(self, values: Mapping[str, float], counts: Mapping[str, float]) -> tuple[dict[str, float], list[float]]:
        """Return the mean of each number over what it averages in all processes, and the sum of each of ``counts``.

        ``counts``: how much each number averages in this process, and further numbers after them.
        """
        if self.size == 1:
            return dict(values), list(counts.values())
        added = self.sums([*counts.values(), *(value * counts[key] for key, value in values.items())])
        totals, weighted = added[: len(counts)], added[len(counts) :]
        of = dict(zip(counts, totals, strict=True))
        found = {key: one / of[key] if of[key] else 0.0 for key, one in zip(values, weighted, strict=True)}
        return found, totals

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the arrays of all processes, in their order; they differ in their number of rows alone."""
        if self.size == 1:
            return [array]
        rows = [int(one) for one in self.sums([len(array) * (rank == self.rank) for rank in range(self.size)])]
        if not max(rows):
            return [array] * self.size
        # As bytes: NCCL and gloo send few types, and every array here has the same one in all processes.
        width = array.dtype.itemsize * int(np.prod(array.shape[1:]))
        sent = np.zeros(max(rows) * width, np.uint8)
        sent[: array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        here = torch.from_numpy(sent).to(_device())
        made = [torch.empty_like(here) for _ in rows]
        dist.all_gather(made, here)
        found = zip(made, rows, strict=True)
        return [
            one.cpu().numpy()[: count * width].view(array.dtype).reshape(count, *array.shape[1:])
            for one, count in found
        ]

    def gather_bytes(self, texts: Sequence[bytes]) -> list[bytes]:
        """Return the byte strings of all processes, in their order."""
        if self.size == 1:
            return list(texts)
        found: list[bytes] = []
        lengths = self.gather(np.array([len(one) for one in texts], np.int64))
        for ends, data in zip(lengths, self.gather(np.frombuffer(b"".join(texts), np.uint8)), strict=True):
            stops = np.cumsum(ends).tolist()
            found += [data[stop - length : stop].tobytes() for stop, length in zip(stops, ends.tolist(), strict=True)]
        return found

    def share(self, count: float) -> float:
        """Return the factor that makes this process's mean over ``count`` things its share of the mean over all.

        The mean of such shares, each process counting alike, is the mean over the things of all processes.
        """
        return 1.0 if self.size == 1 else self.size * count / max(self.sums([count])[0], 1e-9)

    def mean_row(self, rows: Tensor) -> Tensor:
        """Return the mean (D,) of the rows (n, D) of all processes, with its gradient to each of them."""
        if self.size == 1:
            return rows.mean(0)
        (number,) = self.sums([len(rows)])
        summed: Tensor = _Sum.apply(rows.sum(0))  # type: ignore[no-untyped-call]
        return summed / number

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
        """Let the processes train ``modules`` as one: equal weights at the start, and layers that see whole batches."""
        if self.size == 1:
            return
        for module in modules:
            share_layers(module, self)
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


class SharedDropout(Dropout):
    """Dropout that draws the mask of the whole batch and takes the rows of this process."""

    group: Processes

    def forward(self, x: Tensor) -> Tensor:
        """Apply dropout to (N, …); N may differ between the processes."""
        if not self.training or self.p == 0.0:
            return x
        mask = self.mask(*_rows(x, self.group), x)
        return x * mask


class SharedChannelDropout(nn.Dropout2d):
    """Channel dropout that draws the mask of the whole batch and takes the rows of this process."""

    group: Processes

    def forward(self, input: Tensor) -> Tensor:
        """Apply dropout to (N, C, H, W); N may differ between the processes."""
        if not self.training or self.p == 0.0:
            return input
        place, count = _rows(input, self.group)
        mask = input.new_empty((count, input.shape[1], 1, 1)).bernoulli_(1.0 - self.p).div_(1.0 - self.p)
        return input * mask[place]


def _rows(x: Tensor, group: Processes) -> tuple[slice, int]:
    """Return where the rows of ``x`` lie in those of all processes, and how many these are."""
    rows = [int(one) for one in group.sums([len(x) * (rank == group.rank) for rank in range(group.size)])]
    first = sum(rows[: group.rank])
    return slice(first, first + len(x)), sum(rows)


def _device() -> torch.device:
    """Return where numbers must lie to be exchanged."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _shared(kind: type[nn.BatchNorm2d]) -> type[nn.BatchNorm2d]:
    """Return ``kind`` over the statistics of all processes: `SharedBatchNorm` takes the place of its batch norm."""
    if kind is nn.BatchNorm2d:
        return SharedBatchNorm
    return cast("type[nn.BatchNorm2d]", type(f"Shared{kind.__name__}", (kind, SharedBatchNorm), {}))


def share_layers(module: nn.Module, group: Processes) -> None:
    """Turn every batch norm and dropout within ``module`` into one of whole batches; weights and names stay."""
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d) and not isinstance(one, SharedBatchNorm):
            one.__class__ = _shared(type(one))
        elif isinstance(one, Dropout | nn.Dropout2d):
            one.__class__ = SharedDropout if isinstance(one, Dropout) else SharedChannelDropout
            one.group = group  # type: ignore[assignment]  # torch takes any attribute for a tensor or a module
