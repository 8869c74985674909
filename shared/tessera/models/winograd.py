"""A 3×3 convolution with 4 multiplications where it has 9: minimal filtering F(2×2, 3×3).

Four neighbouring outputs of one channel read a tile d of 4×4 inputs. With the matrices B, G and A below

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A    (Winograd 1980; Lavin and Gray 2016, equation 8),

and the product at each of the 16 places, summed over channels, is a matrix product of all tiles, which a library runs
at the processor's peak. Sums are made in float32, so in bfloat16 the result errs twice as much as a plain convolution's
(root mean square .0049 of the output's against .0024, 256 channels).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_G = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])
_FILTERS = torch.kron(_G, _G)  # (16, 9)
_MIRRORED = (3, 1, 2, 0)  # rows of G g where g is reversed
_DTYPES = (torch.bfloat16, torch.float32)
_STRIP_TILES = 768  # transforms of so many stay in the caches


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution of stride 1 that keeps the map's size, with the parameters of ``nn.Conv2d``."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, O, H, W)."""
        return conv3x3(x, self.weight, self.bias)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """conv2d(x, weight, bias, padding=1): by `minimal_conv3x3` on a CPU, else by the library in ways of its own."""
    if x.device.type == "cpu" and x.dtype in _DTYPES:
        return minimal_conv3x3(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def minimal_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """conv2d(x, weight, bias, padding=1) for x (N, C, H, W) and weight (O, C, 3, 3): (N, O, H, W), channels-last.

    Computes in the dtype of x (bfloat16 or float32), or in autocast's.
    """
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    trained = weight.requires_grad and torch.is_grad_enabled()
    out: Tensor = _Minimal.apply(x, weight, bias, trained)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return out


class _Minimal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, trained: bool) -> Tensor:
        filters = _filters(weight, x.dtype)
        out, tiles = _convolve(x, filters.transpose(1, 2), bias, keep=trained)
        ctx.save_for_backward(filters, *tiles)
        ctx.weight_dtype, ctx.biased = weight.dtype, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        filters, *tiles = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            # The convolution with the kernel turned by half a turn, from outputs to inputs.
            turned = filters.view(4, 4, *filters.shape[1:])[_MIRRORED, :][:, _MIRRORED].flatten(0, 1)
            of_x, _ = _convolve(gradient, turned, None, keep=False)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(gradient, tiles).to(ctx.weight_dtype)
        if ctx.biased and ctx.needs_input_grad[2]:
            of_bias = gradient.float().sum(dim=(0, 2, 3)).to(ctx.weight_dtype)
        return of_x, of_weight, of_bias, None


def _convolve(x: Tensor, filters: Tensor, bias: Tensor | None, *, keep: bool) -> tuple[Tensor, list[Tensor]]:
    """Maps (N, C, H, W) and filters (16, C, O) → (N, O, H, W), channels-last, and the tiles of x where wanted."""
    kernels = _kernels()
    maps = x.permute(0, 2, 3, 1).contiguous()
    out = maps.new_empty(*maps.shape[:3], filters.shape[2])
    added = np.zeros(out.shape[3], np.float32) if bias is None else bias.detach().float().numpy()
    kept: list[Tensor] = []
    for first, last, count in _strips(maps):
        tiles = maps.new_empty(16, count, maps.shape[3])
        kernels.inputs(_array(maps), _array(tiles), first, last)
        kernels.outputs(_array(torch.bmm(tiles, filters)), added, _array(out), first, last)
        if keep:
            kept.append(tiles)
    return out.permute(0, 3, 1, 2), kept


def _of_weight(gradient: Tensor, tiles: list[Tensor]) -> Tensor:
    """Gradient of the output (N, O, H, W) and the tiles of x → that of the weight (O, C, 3, 3), channels-last."""
    kernels = _kernels()
    maps = gradient.permute(0, 2, 3, 1).contiguous()
    total: Tensor | None = None
    for (first, last, count), part in zip(_strips(maps), tiles, strict=True):
        products = maps.new_empty(16, count, maps.shape[3])
        kernels.gradients(_array(maps), _array(products), first, last)
        of_filters = torch.bmm(products.transpose(1, 2), part).float()
        total = of_filters if total is None else total.add_(of_filters)
    assert total is not None  # noqa: S101  # a map has rows
    _, outputs, channels = total.shape
    taps = (_FILTERS.t() @ total.view(16, -1)).view(9, outputs, channels)
    return taps.transpose(0, 1).contiguous().view(outputs, 3, 3, channels).permute(0, 3, 1, 2)


def _kernels() -> ModuleType:
    """The kernels, on as many threads as torch."""
    import numba

    from tessera.models import winograd_kernels

    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]  # set at import
    if torch.get_num_threads() != threads:
        # Numba's first use sets the count of an OpenMP runtime that torch may share.
        torch.set_num_threads(threads)
    return winograd_kernels


def _filters(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(O, C, 3, 3) → G g Gᵀ of each kernel, (16, O, C), made in float32."""
    outputs, channels = weight.shape[:2]
    taps = weight.detach().float().permute(2, 3, 0, 1).reshape(9, outputs * channels)
    return (_FILTERS @ taps).to(dtype).view(16, outputs, channels)


def _strips(maps: Tensor) -> Iterator[tuple[int, int, int]]:
    """First and last row of tiles, and how many tiles, of each piece of maps (N, H, W, C) to work on at once."""
    batch, height, width = maps.shape[:3]
    rows, across = batch * ((height + 1) // 2), (width + 1) // 2
    step = max(1, _STRIP_TILES // across)
    for first in range(0, rows, step):
        last = min(first + step, rows)
        yield first, last, (last - first) * across


def _array(tensor: Tensor) -> NDArray[Any]:
    """As the kernels read it: bfloat16 as uint16."""
    if tensor.dtype == torch.bfloat16:
        return tensor.detach().view(torch.int16).numpy().view(np.uint16)
    return tensor.detach().numpy()
