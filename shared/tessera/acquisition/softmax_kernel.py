"""Fused bilinear upsampling and softmax over a strip of output rows: nothing of size C×H×W is ever made."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.compile import kernel
from tessera.acquisition.interfaces import Float32, Int32


@kernel
def expand_row(logits: Float32, row: int, left: Int32, right: Int32, weight: Float32, out: Float32) -> None:
    """One low-resolution row of every class (C, w), widened to (C, W) by linear interpolation."""
    for c in range(logits.shape[0]):
        for x in range(left.shape[0]):
            first = np.float32(np.float32(1.0) - weight[x]) * logits[c, row, left[x]]
            out[c, x] = first + weight[x] * logits[c, row, right[x]]


@kernel
def exponentials(z: Float32, exps: Float32) -> None:
    """exp(z) for z ≤ 0, element by element, within 2 ulp: 2^n · e^r with |r| ≤ ln2/2 and a degree-6 polynomial.

    Written out because a call to libm keeps the loop from being vectorised: this is 5–10 times faster.
    """
    for i in range(z.shape[0]):
        x = z[i] if z[i] > np.float32(-87.0) else np.float32(-87.0)
        n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
        r = (x - n * np.float32(0.693359375)) - n * np.float32(-2.12194440e-4)
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        p = p * (r * r) + r + np.float32(1.0)
        exps[i] = p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@kernel
def logarithms(values: Float32, out: Float32) -> None:
    """log(v) for v ≥ 1 (a sum of exponentials whose largest is 1), element by element, within 2e-7.

    v = 2^e · m with m in [1/√2, √2), log m = 2 artanh(s), s = (m-1)/(m+1), |s| < 0.172: five terms of the series.
    """
    for i in range(values.shape[0]):
        bits = np.float32(values[i]).view(np.int32)
        e = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
        m = np.int32(bits - np.int32(e << np.int32(23))).view(np.float32)
        s = (m - np.float32(1.0)) / (m + np.float32(1.0))
        t = s * s
        p = np.float32(2.0 / 9.0)
        p = p * t + np.float32(2.0 / 7.0)
        p = p * t + np.float32(2.0 / 5.0)
        p = p * t + np.float32(2.0 / 3.0)
        p = p * t * s + np.float32(2.0) * s
        out[i] = np.float32(e) * np.float32(0.693147181) + p


@kernel
def blend(above: Float32, below: Float32, weight: np.float32, z: Float32) -> None:
    """``z`` = (1 − weight)·above + weight·below, all (W,)."""
    rest = np.float32(1.0) - weight
    for x in range(z.shape[0]):
        z[x] = rest * above[x] + weight * below[x]


@kernel
def softmax_row(shifted: Float32, exps: Float32, start: int, total: Float32) -> None:
    """Columns [start, start + W) of ``shifted`` less their maximum, their exponentials and the sums (W,) of those.

    Slices of one class are taken before the loops: numba knows them to be contiguous and vectorises.
    """
    classes, width = shifted.shape[0], total.shape[0]
    total[:] = shifted[0, start : start + width]
    for c in range(1, classes):
        z = shifted[c, start : start + width]
        for x in range(width):
            total[x] = z[x] if z[x] > total[x] else total[x]
    for c in range(classes):
        z = shifted[c, start : start + width]
        for x in range(width):
            z[x] -= total[x]
        exponentials(z, exps[c, start : start + width])
    total[:] = np.float32(0.0)
    for c in range(classes):
        e = exps[c, start : start + width]
        for x in range(width):
            total[x] += e[x]


@kernel
def softmax_strip(
    logits: Float32,
    first: int,
    rows: int,
    vertical: tuple[Int32, Int32, Float32],
    horizontal: tuple[Int32, Int32, Float32],
    above: Float32,
    below: Float32,
    shifted: Float32,
    exps: Float32,
    total: Float32,
    log_total: Float32,
) -> None:
    """Logits of output rows [first, first+rows), bilinearly upsampled, minus their maximum, with exponentials and sums.

    ``logits`` (C, h, w); ``vertical`` and ``horizontal`` are (lower index, upper index, upper weight) of every output
    row and column; ``above`` and ``below`` (C, W) are scratch. ``shifted`` and ``exps`` are (C, rows·W), ``total`` and
    ``log_total`` (rows·W,). Same arithmetic as torch's ``interpolate(mode="bilinear", align_corners=False)``.
    """
    width = horizontal[0].shape[0]
    held_above = -1
    held_below = -1
    for k in range(rows):
        top, bottom, weight = vertical[0][first + k], vertical[1][first + k], vertical[2][first + k]
        if top != held_above:
            expand_row(logits, top, horizontal[0], horizontal[1], horizontal[2], above)
            held_above = top
        if bottom != held_below:
            expand_row(logits, bottom, horizontal[0], horizontal[1], horizontal[2], below)
            held_below = bottom
        start, stop = k * width, (k + 1) * width
        for c in range(logits.shape[0]):
            blend(above[c], below[c], weight, shifted[c, start:stop])
        softmax_row(shifted, exps, start, total[start:stop])
        logarithms(total[start:stop], log_total[start:stop])
