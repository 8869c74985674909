"""Fused bilinear upsampling and softmax over a strip of output rows: no array of size C×H×W is made.

The strip is computed in blocks of columns that stay in the first-level cache from logits to sums.
"""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Axis, Float32, Float64, Int32, Strip
from tessera.compile import kernel

BLOCK = 256
"""Columns per block: C·BLOCK·16 bytes of scratch."""


@kernel
def expand_row(logits: Float32, row: int, left: Int32, right: Int32, weight: Float32, out: Float32) -> None:
    """Interpolate one low-resolution row of every class to the columns of ``left``, ``right``, ``weight``: out (C, n).

    Arrays: ``logits`` (C, h, w), ``weight`` (n,) and ``out`` (C, n) float32, ``left`` and ``right`` (n,) int32.
    """
    for c in range(logits.shape[0]):
        source, target = logits[c, row], out[c]
        for x in range(left.shape[0]):
            first = np.float32(np.float32(1.0) - weight[x]) * source[left[x]]
            target[x] = first + weight[x] * source[right[x]]


@kernel
def exponential(value: np.float32) -> np.float32:
    """Return e^value for value ≤ 0, within 2 ulp: 2^n · e^r with |r| ≤ ln2/2 and a degree-6 polynomial.

    Written out because a call to libm keeps the loop around it from being vectorised: this is 5–10 times faster.
    """
    x = value if value > np.float32(-87.0) else np.float32(-87.0)
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = (x - n * np.float32(0.693359375)) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * (r * r) + r + np.float32(1.0)
    power: np.float32 = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(p * power)


@kernel
def exponentials(z: Float32, exps: Float32) -> None:
    """``exps`` = e^z for z ≤ 0, element by element; the two may be one array.

    Arrays: ``z`` and ``exps`` are (n,) float32.
    """
    for i in range(z.shape[0]):
        exps[i] = exponential(z[i])


@kernel
def logarithms(values: Float32, out: Float32) -> None:
    """log(v) for v ≥ 1 (a sum of exponentials whose largest is 1), element by element, within 2e-7.

    v = 2^e · m with m in [1/√2, √2), log m = 2 artanh(s), s = (m-1)/(m+1), |s| < 0.172: five terms of the series.

    Arrays: ``values`` and ``out`` are (n,) float32.
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
def blend(above: Float32, below: Float32, weight: np.float32, z: Float32, best: Float32) -> None:
    """``z`` = (1 − weight)·above + weight·below, all (C, n), and ``best`` (n,) its maximum over classes.

    Arrays: ``above`` and ``below`` (C, n), like all others float32.
    """
    rest = np.float32(1.0) - weight
    best[:] = -np.inf
    for c in range(z.shape[0]):
        upper, lower, row = above[c], below[c], z[c]
        for x in range(best.shape[0]):
            value = rest * upper[x] + weight * lower[x]
            row[x] = value
            best[x] = value if value > best[x] else best[x]


@kernel
def second_and_class(z: Float32, best: Float32, second: Float32, predicted: Int32) -> None:
    """Second largest less largest (n,) over classes of ``z`` (C, n), and the largest's class, the lowest of equals.

    Arrays: ``z`` (C, n), ``best`` (n,) and ``second`` (n,) float32, ``predicted`` (n,) int32.
    """
    held = np.empty(best.shape[0], np.float32)
    held[:] = z[0]
    second[:] = -np.inf
    predicted[:] = 0
    for c in range(1, z.shape[0]):
        row = z[c]
        for x in range(held.shape[0]):
            value, top = row[x], held[x]
            lesser = value if value < top else top
            second[x] = lesser if lesser > second[x] else second[x]
            predicted[x] = np.int32(c) if value > top else predicted[x]
            held[x] = value if value > top else top
    for x in range(held.shape[0]):
        second[x] -= best[x]


@kernel
def sums(z: Float32, best: Float32, total: Float32, dot: Float32) -> None:
    """Σ_c e^(z_c − best) and Σ_c (z_c − best) e^(z_c − best), classes in order; ``z`` becomes the exponentials.

    Arrays: ``z`` (C, n), ``best``, ``total`` and ``dot`` (n,), all float32.
    """
    total[:] = np.float32(0.0)
    dot[:] = np.float32(0.0)
    for c in range(z.shape[0]):
        row = z[c]
        for x in range(best.shape[0]):
            shifted = row[x] - best[x]
            e = exponential(shifted)
            row[x] = e
            total[x] += e
            dot[x] += e * shifted


@kernel
def add_classes(z: Float32, total: Float32, labels: Int32, class_sums: Float64) -> None:
    """``class_sums[r, c]`` += Σ z_c / total over the columns of region r, run by run; ``z`` (C, n) becomes z / total.

    Four partial sums per run, added in a fixed order: rounding depends on where the run lies in its block only.

    Arrays: ``z`` and ``total`` (n,) float32, ``labels`` (n,) int32, ``class_sums`` (R, C) float64.
    """
    classes, n = z.shape
    inverse = np.empty(n, np.float32)
    for x in range(n):
        inverse[x] = np.float32(1.0) / total[x]
    for c in range(classes):
        row = z[c]
        for x in range(n):
            row[x] *= inverse[x]
    start = 0
    while start < n:
        label = labels[start]
        stop = start + 1
        while stop < n and labels[stop] == label:
            stop += 1
        whole = start + (stop - start) // 4 * 4
        for c in range(classes):
            row = z[c]
            s0, s1, s2, s3 = np.float64(0.0), np.float64(0.0), np.float64(0.0), np.float64(0.0)
            for x in range(start, whole, 4):
                s0 += row[x]
                s1 += row[x + 1]
                s2 += row[x + 2]
                s3 += row[x + 3]
            for x in range(whole, stop):
                s0 += row[x]
            class_sums[label, c] += (s0 + s1) + (s2 + s3)
        start = stop


@kernel
def write_block(z: Float32, best: Float32, start: int, strip: Strip, second: Float32, predicted: Int32) -> None:
    """Write one row of a block, ``z`` (C, n), to the strip's columns from ``start``; overwrites ``z``.

    Arrays: ``z``, ``best`` (n,) and ``second`` (n,) float32, ``predicted`` (n,) int32; the last two are scratch.
    """
    stop = start + best.shape[0]
    if strip.second.shape[0] > 0 or strip.predicted.shape[0] > 0:
        second_and_class(z, best, second, predicted)
        if strip.second.shape[0] > 0:
            strip.second[start:stop] = second
        if strip.predicted.shape[0] > 0:
            strip.predicted[start:stop] = predicted
    if strip.total.shape[0] > 0:
        sums(z, best, strip.total[start:stop], strip.dot[start:stop])
        logarithms(strip.total[start:stop], strip.log_total[start:stop])
        if strip.exps.shape[1] > 0:
            for c in range(z.shape[0]):
                strip.exps[c, start:stop] = z[c]


@kernel
def fill_and_sum(
    logits: Float32,
    first: int,
    rows: int,
    axes: tuple[Axis, Axis],
    strip: Strip,
    labels: Int32,
    class_sums: Float64,
) -> None:
    """Fill those parts of ``strip`` that have elements, for output rows [first, first + rows).

    Where ``class_sums`` (R, C) has elements, the softmax is added to it by the regions ``labels`` (rows, W), and the
    strip must hold ``total``. ``logits`` (C, h, w) float32, ``labels`` int32, ``class_sums`` float64; ``axes`` holds
    (lower index int32, upper index int32, upper weight float32) of every output row and of every output column.
    Same arithmetic as torch's ``interpolate(mode="bilinear", align_corners=False)``. A pixel's value depends on neither
    strip nor block.
    """
    vertical, horizontal = axes
    classes, width = logits.shape[0], horizontal[0].shape[0]
    for left in range(0, width, BLOCK):
        n = min(BLOCK, width - left)
        # One by one: numba loses the contiguity of arrays that are unpacked from one.
        above, below, z = (
            np.empty((classes, n), np.float32),
            np.empty((classes, n), np.float32),
            np.empty((classes, n), np.float32),
        )
        best, second, predicted = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.int32)
        columns = (horizontal[0][left : left + n], horizontal[1][left : left + n], horizontal[2][left : left + n])
        held_above, held_below = -1, -1
        for k in range(rows):
            top, bottom = vertical[0][first + k], vertical[1][first + k]
            if top == held_below:
                above, below = below, above
                held_above, held_below = held_below, held_above
            if top != held_above:
                expand_row(logits, top, columns[0], columns[1], columns[2], above)
                held_above = top
            if bottom != held_below:
                expand_row(logits, bottom, columns[0], columns[1], columns[2], below)
                held_below = bottom
            blend(above, below, vertical[2][first + k], z, best)
            start = k * width + left
            write_block(z, best, start, strip, second, predicted)
            if class_sums.shape[0] > 0:
                add_classes(z, strip.total[start : start + n], labels[k, left : left + n], class_sums)


@kernel
def fill_strip(logits: Float32, first: int, rows: int, axes: tuple[Axis, Axis], strip: Strip) -> None:
    """Fill the strip as `fill_and_sum` does, without class sums.

    Arrays: ``logits`` (C, h, w) float32.
    """
    fill_and_sum(logits, first, rows, axes, strip, np.empty((0, 0), np.int32), np.empty((0, 0), np.float64))
