"""Greedy choices in high dimension with stale distances: a distance is updated only when its point could be the choice.

Imported in the compute child only: it brings numba.
"""

from __future__ import annotations

import numpy as np

from tessera.acquisition.interfaces import Float32
from tessera.acquisition.neighbours.checks import Float64, Int64
from tessera.compile import kernel

CHUNK = 32
BLOCK = 256


@kernel
def below(points: Float32, i: int, other: int, bound: float) -> float:
    """Return the squared distance of two rows of ``points`` (n, D) float32, or a value ≥ ``bound`` if it reaches that.

    In float64 and in eight lanes, equal to ``nearest_centre.squared_distance`` bit for bit. Written out again, because
    a kernel and what it calls stay in one file (``tessera.compile``), and because of the early exit.
    """
    d = points.shape[1]
    a0, a1, a2, a3, a4, a5, a6, a7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    whole = d - d % 8
    for start in range(0, whole, CHUNK):
        for j in range(start, min(whole, start + CHUNK), 8):
            g0 = np.float64(points[i, j]) - np.float64(points[other, j])
            g1 = np.float64(points[i, j + 1]) - np.float64(points[other, j + 1])
            g2 = np.float64(points[i, j + 2]) - np.float64(points[other, j + 2])
            g3 = np.float64(points[i, j + 3]) - np.float64(points[other, j + 3])
            g4 = np.float64(points[i, j + 4]) - np.float64(points[other, j + 4])
            g5 = np.float64(points[i, j + 5]) - np.float64(points[other, j + 5])
            g6 = np.float64(points[i, j + 6]) - np.float64(points[other, j + 6])
            g7 = np.float64(points[i, j + 7]) - np.float64(points[other, j + 7])
            a0 += g0 * g0
            a1 += g1 * g1
            a2 += g2 * g2
            a3 += g3 * g3
            a4 += g4 * g4
            a5 += g5 * g5
            a6 += g6 * g6
            a7 += g7 * g7
        total = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))
        if total >= bound:  # sums of squares only grow, rounded or not
            return total
    for j in range(whole, d):
        gap = np.float64(points[i, j]) - np.float64(points[other, j])
        a0 += gap * gap
    return ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))


@kernel
def refresh(points: Float32, lengths: Float64, i: int, chosen: Int64, begin: int, stop: int, squared: float) -> float:
    """Return the D² of row ``i`` of ``points`` (n, D) float32, given that it was ``squared`` before chosen[begin:stop].

    ``chosen`` (k,) int64 are rows. ``lengths`` (n,) float64 are distances from one common point: by the triangle
    inequality no other distance is below the difference of two of them, and a centre that cannot be nearer is skipped.
    """
    for t in range(begin, stop):
        ours, theirs = lengths[i], lengths[chosen[t]]
        gap = abs(ours - theirs) - 1e-9 * (ours + theirs)  # less their rounding
        if gap > 0.0 and gap * gap >= squared:
            continue
        distance = below(points, i, chosen[t], squared)
        squared = distance if distance < squared else squared
    return squared


@kernel
def sink(heap: Int64, size: int, at: int, squared: Float64) -> None:
    """Restore the heap (largest D² first, the smaller row among equals) after the value at ``at`` went down.

    ``heap`` (n,) int64 are rows, of which the first ``size`` count, ``squared`` (n,) float64 their D².
    """
    row = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size:
            a, b = heap[child], heap[child + 1]
            if squared[b] > squared[a] or (squared[b] == squared[a] and b < a):
                child += 1
        other = heap[child]
        if squared[row] > squared[other] or (squared[row] == squared[other] and row < other):
            break
        heap[at] = other
        at = child
    heap[at] = row


@kernel
def farthest_first(
    points: Float32, lengths: Float64, squared: Float64, chosen: Int64, start: int, patience: float
) -> int:
    """Fill ``chosen`` (k,) int64 from ``start`` with the farthest point from all before it; return where it stopped.

    ``points`` (n, D) float32; ``lengths`` (n,) float64 as in `refresh`. ``squared`` (n,) float64 is D² to everything
    before chosen[start], −1 for excluded rows. It is changed in place; points that could not be the choice keep old
    values, which are never too small. Stops early, for the caller to update all D² at once, when n + ``patience`` · n ·
    (points chosen here) distances have been computed one by one.
    """
    n = len(points)
    heap = np.arange(n)
    for at in range(n // 2 - 1, -1, -1):
        sink(heap, n, at, squared)
    seen = np.full(n, start)
    work = 0
    for step in range(start, len(chosen)):
        if work > n + patience * n * (step - start):
            return step
        while seen[heap[0]] < step:
            row = heap[0]
            squared[row] = refresh(points, lengths, row, chosen, seen[row], step, squared[row])
            work += step - seen[row]
            seen[row] = step
            sink(heap, n, 0, squared)
        row = heap[0]
        chosen[step] = row
        squared[row] = -1.0
        seen[row] = len(chosen)
        sink(heap, n, 0, squared)
    return len(chosen)


@kernel
def block_sums(weight: Float64, sums: Float64) -> None:
    """Sum every 256 weights, in order.

    Arrays: ``weight`` (n,) float64, ``sums`` (⌈n / 256⌉,) float64, written.
    """
    for block in range(len(sums)):
        total = 0.0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, len(weight))):
            total += weight[i]
        sums[block] = total


@kernel
def draw(weight: Float64, sums: Float64, uniform: float) -> int:
    """Return the row at which the running sum of weights passes ``uniform`` of the whole; −1 when all are 0.

    Arrays: ``weight`` (n,) float64, ``sums`` (⌈n / 256⌉,) float64, those of `block_sums`.
    """
    total = 0.0
    for block in range(len(sums)):
        total += sums[block]
    target, found = uniform * total, -1
    for block in range(len(sums)):
        if sums[block] > 0.0:
            found = block
            if target < sums[block]:
                break
            target -= sums[block]
    if found < 0:
        return -1
    row = -1
    for i in range(found * BLOCK, min((found + 1) * BLOCK, len(weight))):
        if weight[i] > 0.0:
            row = i
            if target < weight[i]:
                break
            target -= weight[i]
    return row


@kernel
def lower(weight: Float64, sums: Float64, row: int, value: float) -> None:
    """Set one weight and update the sum of its block.

    Arrays: ``weight`` (n,) float64, ``sums`` (⌈n / 256⌉,) float64.
    """
    weight[row] = value
    block = row // BLOCK
    total = 0.0
    for i in range(block * BLOCK, min((block + 1) * BLOCK, len(weight))):
        total += weight[i]
    sums[block] = total
