"""3×3 convolution of a bilinearly upsampled map, without computing the upsampled map.

Upsampling is linear and separable, up(x) = R x Cᵀ, and the convolution mixes channels only, so

    conv(up(x))[o, y, x'] = Σ_ky Σ_h R[y + ky - 1, h] Σ_kx Σ_w C[x' + kx - 1, w] (W[o, :, ky, kx] · x[:, h, w]).

The channel mixing, nearly all of the work, runs at low resolution; two small matrix products then interpolate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Offsets = Sequence[tuple[int, int]]


def interpolation(size: int, target: int, ratio: int, offset: int = 0) -> Tensor:
    """Return the weight of each source cell in each target cell, (size, target) float32; y reads (y + offset) / ratio.

    When convolutions pad by one on every side, cell i of a map of stride s sits at pixel i · s, whatever the size of
    the image. So both grids share their origin, and crops and whole images are interpolated alike.
    """
    position = ((torch.arange(target, dtype=torch.float32) + offset) / ratio).clamp(max=size - 1)
    return (1.0 - (position[None, :] - torch.arange(size)[:, None]).abs()).clamp(min=0.0)


def upsample(x: Tensor, size: tuple[int, int], ratio: int, offsets: Offsets | None = None) -> Tensor:
    """Upsample (N, C, h, w) bilinearly by `interpolation`, ``ratio`` times finer: (N, C, *size), channels-last.

    ``offsets`` says for each sample at which row and column of the fine grid its output begins.
    """
    batch, channels, h, w = x.shape
    starts = offsets or ((0, 0),)
    rows = torch.stack([interpolation(h, size[0], ratio, start[0]) for start in starts]).to(x)
    columns = torch.stack([interpolation(w, size[1], ratio, start[1]) for start in starts]).to(x)
    tall = torch.matmul(rows.transpose(1, 2), x.permute(0, 2, 3, 1).reshape(batch, h, w * channels))
    out = torch.matmul(columns.transpose(1, 2)[:, None], tall.view(batch, size[0], w, channels))
    return out.permute(0, 3, 1, 2)


@lru_cache(maxsize=256)
def _taps(size: int, target: int, ratio: int, offset: int) -> Tensor:
    """Return (3 · size, target): the `interpolation` weights of each kernel tap's cell; zero in the padding."""
    # Cached for training too: it must not be an inference tensor if prediction comes first.
    with torch.inference_mode(False), torch.no_grad():
        padded = F.pad(interpolation(size, target, ratio, offset), (1, 1))
        return torch.cat([padded[:, tap : tap + target] for tap in range(3)])


def upsampled_conv3x3(
    x: Tensor, weight: Tensor, size: tuple[int, int], ratio: int, offsets: Offsets | None = None
) -> Tensor:
    """Return conv2d(up(x), weight, padding=1) for x (N, C, h, w) and weight (O, C, 3, 3): (N, O, *size), channels-last.

    ``up`` is bilinear to ``size`` by `interpolation`, ``ratio`` times finer. The result is equal up to rounding.
    ``offsets`` says for each sample at which row and column of the fine grid its output begins.
    """
    batch, channels, h, w = x.shape
    outputs = weight.shape[0]
    height, width = size
    starts = offsets or ((0, 0),)
    # Sizes of an exported graph are symbols, which a cache must not keep.
    taps_of = _taps.__wrapped__ if torch.compiler.is_exporting() else _taps
    columns = torch.stack([taps_of(w, width, ratio, start[1]) for start in starts]).to(x)
    rows = torch.stack([taps_of(h, height, ratio, start[0]) for start in starts]).to(x)
    # (ky, o, kx) so that the columns' sum runs over neighbours (kx, w).
    taps = weight.permute(2, 3, 0, 1).reshape(9 * outputs, channels)
    mixed = torch.matmul(x.permute(0, 2, 3, 1).reshape(batch * h * w, channels), taps.t().to(x.dtype))
    # (N, h, w, ky, kx, o) → rows (N, h, ky), then (kx, w) against o.
    mixed = mixed.view(batch, h, w, 3, 3, outputs).permute(0, 3, 1, 4, 2, 5).reshape(batch, 3 * h, 3 * w, outputs)
    wide = torch.matmul(columns.transpose(1, 2)[:, None], mixed)  # (N, ky · h, width, o)
    wide = wide.view(batch, 3 * h, width * outputs)
    out = torch.matmul(rows.transpose(1, 2), wide)  # (N, height, width · o)
    return out.view(batch, height, width, outputs).permute(0, 3, 1, 2)
