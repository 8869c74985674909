"""Fused bilinear upsampling and softmax over a strip of output rows: nothing of size C×H×W is ever made.

The strip is worked on in blocks of columns that stay in the first-level cache from logits to sums.
"""

from __future__ import annotations

import numpy as np

from tessera.acquisition.compile import kernel
from tessera.acquisition.interfaces import Float32, Int32, Strip

BLOCK = 128
"""Columns a block: C·BLOCK·16 bytes of scratch."""


@kernel
def expand_row(logits: Float32, row: int, left: Int32, right: Int32, weight: Float32, out: Float32) -> None:
    """One low-resolution row of every class, widened to the columns of ``left``, ``right``, ``weight``: out (C, n)."""
    for c in range(logits.shape[0]):
        source, target = logits[c, row], out[c]
        for x in range(left.shape[0]):
            first = np.float32(np.float32(1.0) - weight[x]) * source[left[x]]
            target[x] = first + weight[x] * source[right[x]]


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
    """``z`` = (1 − weight)·above + weight·below, all (n,)."""
    rest = np.float32(1.0) - weight
    for x in range(z.shape[0]):
        z[x] = rest * above[x] + weight * below[x]


@kernel
def largest(z: Float32, best: Float32) -> None:
    """``best`` (n,) = maximum over classes of ``z`` (C, n)."""
    best[:] = z[0]
    for c in range(1, z.shape[0]):
        row = z[c]
        for x in range(best.shape[0]):
            best[x] = row[x] if row[x] > best[x] else best[x]


@kernel
def two_largest(z: Float32, best: Float32, second: Float32, predicted: Int32) -> None:
    """Largest and second largest over classes of ``z`` (C, n), and the class of the largest, the lowest of equals."""
    best[:] = z[0]
    second[:] = -np.inf
    predicted[:] = 0
    for c in range(1, z.shape[0]):
        row = z[c]
        for x in range(best.shape[0]):
            value, top = row[x], best[x]
            lesser = value if value < top else top
            second[x] = lesser if lesser > second[x] else second[x]
            predicted[x] = np.int32(c) if value > top else predicted[x]
            best[x] = value if value > top else top


@kernel
def sums(z: Float32, best: Float32, exps: Float32, total: Float32, dot: Float32) -> None:
    """Σ_c e^(z_c − best) and Σ_c (z_c − best) e^(z_c − best), classes in order; ``z`` becomes z − best."""
    total[:] = np.float32(0.0)
    dot[:] = np.float32(0.0)
    for c in range(z.shape[0]):
        row, e = z[c], exps[c]
        for x in range(best.shape[0]):
            row[x] -= best[x]
        exponentials(row, e)
        for x in range(best.shape[0]):
            total[x] += e[x]
            dot[x] += e[x] * row[x]


@kernel
def fill_strip(  # noqa: C901
    logits: Float32,
    first: int,
    rows: int,
    vertical: tuple[Int32, Int32, Float32],
    horizontal: tuple[Int32, Int32, Float32],
    strip: Strip,
) -> None:
    """Fill those parts of ``strip`` that have elements, for output rows [first, first + rows).

    ``logits`` (C, h, w); ``vertical`` and ``horizontal`` are (lower index, upper index, upper weight) of every output
    row and column. Same arithmetic as torch's ``interpolate(mode="bilinear", align_corners=False)``. A pixel's value
    depends on neither strip nor block.
    """
    total, log_total, dot = strip.total, strip.log_total, strip.dot
    second, predicted, exps = strip.second, strip.predicted, strip.exps
    classes, width = logits.shape[0], horizontal[0].shape[0]
    softmax, keep = total.shape[0] > 0, exps.shape[1] > 0
    ordered = second.shape[0] > 0 or predicted.shape[0] > 0
    for left in range(0, width, BLOCK):
        n = min(BLOCK, width - left)
        above, below, z, e = np.empty((4, classes, n), np.float32)
        best, lesser, ones, products = np.empty((4, n), np.float32)
        winner = np.empty(n, np.int32)
        columns = (horizontal[0][left : left + n], horizontal[1][left : left + n], horizontal[2][left : left + n])
        held_above, held_below = -1, -1
        for k in range(rows):
            top, bottom, weight = vertical[0][first + k], vertical[1][first + k], vertical[2][first + k]
            if top != held_above:
                if top == held_below:
                    above[:] = below
                else:
                    expand_row(logits, top, columns[0], columns[1], columns[2], above)
                held_above = top
            if bottom != held_below:
                expand_row(logits, bottom, columns[0], columns[1], columns[2], below)
                held_below = bottom
            for c in range(classes):
                blend(above[c], below[c], weight, z[c])
            start = k * width + left
            if ordered:
                two_largest(z, best, lesser, winner)
                if second.shape[0] > 0:
                    for x in range(n):
                        second[start + x] = lesser[x] - best[x]
                if predicted.shape[0] > 0:
                    predicted[start : start + n] = winner
            else:
                largest(z, best)
            if softmax:
                sums(z, best, e, ones, products)
                total[start : start + n] = ones
                dot[start : start + n] = products
                logarithms(ones, log_total[start : start + n])
            if keep:
                for c in range(classes):
                    exps[c, start : start + n] = e[c]
