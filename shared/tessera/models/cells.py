"""Convolutions at some cells of a map: where a loss reads few pixels, a decoder need not be computed elsewhere.

A map (N, h, w) is a table with one row per cell; ``places`` are rows of it, ascending. Vectors at n places are one
image (1, C, 1, n), channels innermost, which every layer of one cell (1×1 convolution, batch norm, ReLU, dropout) takes
as it is. A 3×3 convolution gathers the nine cells around each place and multiplies once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int, int]


class Around(NamedTuple):
    """The 3×3 cells around n places, as rows of a table of m places; m for a cell that the map or the table lacks."""

    rows: Tensor
    """(n, 9) int64: from above left to below right."""
    readers: Tensor
    """(m, 9) int64: the row of ``rows`` that reads a place of the table as its tap, n where none does."""


def widened(places: Tensor, shape: Shape) -> Tensor:
    """Return the places and the cells around each of them, ascending."""
    marked = torch.zeros(shape, device=places.device)
    marked.view(-1)[places] = 1.0
    return F.max_pool2d(marked[:, None], 3, 1, 1).view(-1).nonzero()[:, 0]


def around(places: Tensor, table: Tensor, shape: Shape) -> Around:
    """Return what is around ``places`` (n,) in ``table`` (m,), both places of one map of ``shape`` (N, h, w)."""
    return Around(_nine(places, table, shape), _nine(table, places, shape).flip(1))


def take(maps: Tensor, places: Tensor) -> Tensor:
    """Return maps (N, C, h, w) at n places: (1, C, 1, n)."""
    found: Tensor = _Take.apply(maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]), places)  # type: ignore[no-untyped-call]
    return image(found)


def image(rows: Tensor) -> Tensor:
    """Return vectors (n, C) as an image (1, C, 1, n)."""
    return rows.t()[None, :, None]


def rows(made: Tensor) -> Tensor:
    """Return an image (1, C, 1, n) as vectors (n, C)."""
    return made[0, :, 0].t()


def conv3x3(conv: nn.Conv2d, weight: Tensor, x: Tensor, near: Around) -> Tensor:
    """Return a 3×3 convolution by ``weight`` (O, C, 3, 3), padding 1, at n places: (1, O, 1, n).

    ``x`` (1, C, 1, m) holds what it reads. ``conv`` has the bias and the groups: one, or as many as channels.
    """
    taps: Tensor = _Gather.apply(rows(x), near.rows, near.readers)  # type: ignore[no-untyped-call]
    if conv.groups == 1:
        flat = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
        return image(F.linear(taps.flatten(1), flat, conv.bias))
    made = (taps * weight.flatten(1).t().to(taps.dtype)).sum(1)
    return image(made if conv.bias is None else made + conv.bias)


def _nine(places: Tensor, table: Tensor, shape: Shape) -> Tensor:
    batch, height, width = shape
    inner = torch.full((batch * height * width,), len(table), device=places.device)
    inner[table] = torch.arange(len(table), device=places.device)
    row = F.pad(inner.view(shape), (1, 1, 1, 1), value=len(table))  # a rim of cells that no table has
    number, y, x = places // (height * width), places // width % height, places % width
    corner = (number * (height + 2) + y) * (width + 2) + x
    steps = torch.tensor([dy * (width + 2) + dx for dy in range(3) for dx in range(3)], device=places.device)
    return row.view(-1)[corner[:, None] + steps]


class _Take(torch.autograd.Function):
    """Rows of a table (m, C) → (n, C); no row is taken twice, so that the gradient is written and not added."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count = len(table)
        return table[places]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        made = gradient.new_zeros(ctx.count, gradient.shape[1])
        made[places] = gradient
        return made, None


class _Gather(torch.autograd.Function):
    """Rows of a table (m, C) → (n, 9, C), 0 where there is none. The gradient gathers too: nothing is added twice."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, found: Tensor, readers: Tensor) -> Tensor:
        ctx.save_for_backward(readers)
        return torch.cat([table, table.new_zeros(1, table.shape[1])])[found]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (readers,) = ctx.saved_tensors
        taps = torch.cat([gradient, gradient.new_zeros(1, *gradient.shape[1:])])
        return taps[readers, torch.arange(9, device=readers.device)].sum(1), None, None
