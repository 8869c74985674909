"""A 3×3 convolution of a bilinearly upsampled map, without making the upsampled map.

Upsampling is linear and separable, up(x) = R x Cᵀ, and the convolution mixes channels only, so

    conv(up(x))[o, y, x'] = Σ_ky Σ_h R[y + ky - 1, h] Σ_kx Σ_w C[x' + kx - 1, w] (W[o, :, ky, kx] · x[:, h, w]).

The channel mixing, nearly all of the work, runs at low resolution; two small matrix products then interpolate.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=64)
def _shifted_interpolation(size: int, target: int, align_corners: bool) -> Tensor:
    """(3 · size, target): for each kernel tap, the interpolation weights of the row it reads; zero in the padding."""
    # Kept for training too, so it must not become an inference tensor when prediction happens to come first.
    with torch.inference_mode(False), torch.no_grad():
        eye = torch.eye(size).unsqueeze(0)
        matrix = F.interpolate(eye, size=target, mode="linear", align_corners=align_corners)[0]
        padded = F.pad(matrix, (1, 1))
        return torch.cat([padded[:, tap : tap + target] for tap in range(3)])


def upsampled_conv3x3(x: Tensor, weight: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """conv2d(interpolate(x, size, bilinear), weight, padding=1) for x (N, C, h, w), weight (O, C, 3, 3): (N, O, *size).

    Equal up to rounding; the result is channels-last.
    """
    batch, channels, h, w = x.shape
    outputs = weight.shape[0]
    height, width = size
    columns = _shifted_interpolation(w, width, align_corners).to(x)
    rows = _shifted_interpolation(h, height, align_corners).to(x)
    # (ky, o, kx) so that the columns' sum runs over neighbours (kx, w).
    taps = weight.permute(2, 3, 0, 1).reshape(9 * outputs, channels)
    mixed = torch.matmul(x.permute(0, 2, 3, 1).reshape(batch * h * w, channels), taps.t().to(x.dtype))
    # (N, h, w, ky, kx, o) → rows (N, h, ky), then (kx, w) against o.
    mixed = mixed.view(batch, h, w, 3, 3, outputs).permute(0, 3, 1, 4, 2, 5).reshape(batch * 3 * h, 3 * w, outputs)
    wide = torch.matmul(columns.t(), mixed)  # (N · ky · h, width, o)
    wide = wide.view(batch, 3 * h, width * outputs)
    out = torch.matmul(rows.t(), wide)  # (N, height, width · o)
    return out.view(batch, height, width, outputs).permute(0, 3, 1, 2)
