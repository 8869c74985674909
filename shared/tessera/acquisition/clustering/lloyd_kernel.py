"""Nearest centres of whole boxes of points at once: centres that no point of a box can be nearest to are dropped.

Kanungo et al. 2002, the filtering algorithm, with room for rounding so that every result is the plain one's.
Imported in the compute child only: it brings numba.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tessera.acquisition.neighbours.checks import Float64, Int64
from tessera.compile import kernel

Int32 = npt.NDArray[np.int32]
LEAF = 16
FAN = 4
ROUNDING = 2.0**-49  # 8 units in the last place


@kernel
def keep_near(
    low: Float64, high: Float64, node: int, ids: Int32, held: Float64, begin: int, stop: int, scratch: Float64
) -> int:
    """Copy the centres begin…stop that some point of the box may be nearest to behind them; return their end.

    ``ids`` (size,) and ``held`` (d, size) are the centres' numbers and coordinates. A centre goes when the whole box
    lies beyond the half-way plane to the one nearest to the middle of the box. Both squared distances are compared at
    the corner where they differ least, and must differ by more than their rounding can: what goes is farther for every
    point also as computed, and ties stay, in ascending order.
    """
    d = held.shape[0]
    number = stop - begin
    for j in range(d):
        value = 0.5 * (low[node, j] + high[node, j])
        for t in range(number):
            gap = held[j, begin + t] - value
            scratch[t] = gap * gap if j == 0 else scratch[t] + gap * gap
    least, champion = np.inf, begin
    for t in range(number):
        champion = begin + t if scratch[t] < least else champion
        least = scratch[t] if scratch[t] < least else least
    far = 0.0
    for j in range(d):
        below, above = held[j, champion] - low[node, j], high[node, j] - held[j, champion]
        most = below if below > above else above
        far += most * most
    slack = (d + 4) * ROUNDING
    for t in range(number):
        scratch[t] = -slack * far
    for j in range(d):
        ours, lowest, highest = held[j, champion], low[node, j], high[node, j]
        to_low, to_high = (lowest - ours) * (lowest - ours), (highest - ours) * (highest - ours)
        for t in range(number):
            value = held[j, begin + t]
            beyond = value > ours
            gap = (highest if beyond else lowest) - value
            scratch[t] += gap * gap * (1.0 - slack) - (to_high if beyond else to_low)
    end = stop
    for t in range(number):
        ids[end] = ids[begin + t]
        for j in range(d):
            held[j, end] = held[j, begin + t]
        end += 0 if scratch[t] > 0.0 else 1
    return end


@kernel
def leaf_nearest(
    points: Float64,
    leaf: int,
    ids: Int32,
    held: Float64,
    begin: int,
    stop: int,
    distance: Float64,
    best: Float64,
    index: Int64,
) -> None:
    """Nearest of the centres begin…stop for the 16 points of a leaf; ties go to the smaller number."""
    d = held.shape[0]
    for i in range(LEAF):
        best[i] = np.inf
        index[i] = ids[begin]
    for t in range(begin, stop):
        c = np.int64(ids[t])
        value = held[0, t]
        if d == 2:
            other = held[1, t]
            for i in range(LEAF):
                across, along = points[leaf, 0, i] - value, points[leaf, 1, i] - other
                distance[i] = across * across + along * along
        else:
            for i in range(LEAF):
                gap = points[leaf, 0, i] - value
                distance[i] = gap * gap
            for j in range(1, d):
                value = held[j, t]
                for i in range(LEAF):
                    gap = points[leaf, j, i] - value
                    distance[i] += gap * gap
        for i in range(LEAF):
            nearer = distance[i] < best[i]
            best[i] = distance[i] if nearer else best[i]
            index[i] = c if nearer else index[i]


@kernel
def settle_node(node: int, first: int, c: int, sums: Float64, counts: Int64, total: Float64, labels: Int32) -> None:
    """Give a whole node to centre ``c``."""
    if len(labels) > 0:
        labels[first : first + counts[node]] = c
        return
    d = sums.shape[1]
    for j in range(d):
        total[c, j] += sums[node, j]
    total[c, d] += counts[node]


@kernel
def settle_leaf(points: Float64, leaf: int, count: int, index: Int64, total: Float64, labels: Int32) -> None:
    """Give each point of a leaf to its centre in ``index`` (16,)."""
    if len(labels) > 0:
        for t in range(count):
            labels[leaf * LEAF + t] = index[t]
        return
    d = points.shape[1]
    for t in range(count):
        c = index[t]
        for j in range(d):
            total[c, j] += points[leaf, j, t]
        total[c, d] += 1.0


@kernel
def assign_part(
    points: Float64,
    low: Float64,
    high: Float64,
    sums: Float64,
    counts: Int64,
    sizes: Int64,
    offsets: Int64,
    centres: Float64,
    level: int,
    position: int,
    labels: Int32,
) -> tuple[Int32, Float64]:
    """Centres that may be nearest to points below one node, and (their number, d + 1) sum and number of their points.

    With ``labels`` (places,) each point's nearest centre is written there in place of summing.
    """
    k, d = centres.shape
    # Lists of a node and of what is above it stand one behind the other.
    ids, held, scratch = np.empty((level + 2) * k + 1, np.int32), np.empty((d, (level + 2) * k + 1)), np.empty(k)
    for c in range(k):
        ids[c] = c
        for j in range(d):
            held[j, c] = centres[c, j]
    distance, best, index = np.empty(LEAF), np.empty(LEAF), np.empty(LEAF, np.int64)
    total = np.zeros((k if len(labels) == 0 else 1, d + 1))
    stack = np.empty(((level + 1) * FAN + 1, 4), np.int64)
    kept = keep_near(low, high, offsets[level] + position, ids, held, 0, k, scratch) - k
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = level, position, 0, k
    depth = 1
    while depth > 0:
        depth -= 1
        at, i, begin, stop = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3]
        node = offsets[at] + i
        end = k + kept if at == level else keep_near(low, high, node, ids, held, begin, stop, scratch)
        if end - stop == 1:
            settle_node(node, i * FAN**at * LEAF, ids[stop], sums, counts, total, labels)
        elif at == 0:
            leaf_nearest(points, i, ids, held, stop, end, distance, best, index)
            settle_leaf(points, i, counts[node], index, total, labels)
        else:
            for child in range(min((i + 1) * FAN, sizes[at - 1]) - 1, i * FAN - 1, -1):
                stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = at - 1, child, stop, end
                depth += 1
    near = ids[k : k + kept].copy()
    if len(labels) > 0:
        return near, np.empty((0, d + 1))
    compact = np.empty((kept, d + 1))
    for t in range(kept):
        compact[t] = total[near[t]]
    return near, compact


@kernel
def assign_parts(
    points: Float64,
    low: Float64,
    high: Float64,
    sums: Float64,
    counts: Int64,
    sizes: Int64,
    offsets: Int64,
    centres: Float64,
    level: int,
    parts: int,
    labels: Int32,
    total: Float64,
) -> None:
    """``assign_part`` of each part in turn, added up in ``total`` (k, d + 1): calls cost more where parts are small."""
    for part in range(parts):
        near, compact = assign_part(points, low, high, sums, counts, sizes, offsets, centres, level, part, labels)
        for t in range(len(compact)):
            for j in range(compact.shape[1]):
                total[near[t], j] += compact[t, j]
