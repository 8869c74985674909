"""Nearest centres of whole boxes of points at once: drops centres that no point of a box can be nearest to.

The filtering algorithm of Kanungo et al. 2002, with room for rounding, so that every result equals that of trying all
pairs. Imported in the compute child only: it brings numba.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tessera.acquisition.clustering.kd_tree import Nodes
from tessera.acquisition.neighbours.checks import Float64, Int64
from tessera.compile import kernel

Int32 = npt.NDArray[np.int32]
LEAF = 16
FAN = 4
ROUNDING = 2.0**-49  # 8 units in the last place


class Near(NamedTuple):
    """Lists of centres, one behind the other: of a node and of what is above it."""

    ids: Int32
    """(size,) int32, number of each centre."""
    held: Float64
    """(d, size) float64, coordinates."""
    scratch: Float64
    """(k,) float64."""


class Lanes(NamedTuple):
    """The nearest centre so far of the 16 points of a leaf, (16,) each."""

    distance: Float64
    """float64, squared distance to the centre that is looked at."""
    best: Float64
    """float64, least squared distance so far."""
    nearest: Int64
    """int64, number of the nearest centre so far."""


@kernel
def keep_near(nodes: Nodes, node: int, near: Near, begin: int, stop: int) -> int:
    """Copy, behind the centres begin…stop, those that some point of the box may be nearest to; return their end.

    A centre is dropped when the whole box lies nearer to the centre that is nearest to the middle of the box. Both
    squared distances are compared at the corner where they differ least, and must differ by more than their rounding
    can. So a dropped centre is farther for every point, also as computed; ties stay, in ascending order.
    """
    low, high, ids, held, scratch = nodes.low, nodes.high, near.ids, near.held, near.scratch
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
def leaf_nearest(points: Float64, leaf: int, near: Near, begin: int, stop: int, lanes: Lanes) -> None:
    """Find the nearest of the centres begin…stop for the 16 points of a leaf; ties go to the smaller number.

    ``points`` (leaves, d, 16) float64. ``lanes`` is written.
    """
    ids, held, distance, best, index = near.ids, near.held, lanes.distance, lanes.best, lanes.nearest
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
def settle_node(nodes: Nodes, level: int, i: int, c: int, total: Float64, labels: Int32) -> None:
    """Assign node ``i`` of a level to centre ``c``: in ``labels`` (places,) int32, or in ``total`` (k, d + 1).

    ``total`` is float64, the sum and the number of each centre's points; it counts where ``labels`` has no elements.
    """
    node = nodes.offsets[level] + i
    if len(labels) > 0:
        first = i * FAN**level * LEAF
        labels[first : first + nodes.counts[node]] = c
        return
    d = nodes.sums.shape[1]
    for j in range(d):
        total[c, j] += nodes.sums[node, j]
    total[c, d] += nodes.counts[node]


@kernel
def settle_leaf(points: Float64, leaf: int, count: int, index: Int64, total: Float64, labels: Int32) -> None:
    """Assign each of the ``count`` points of a leaf to its centre in ``index`` (16,) int64; see `settle_node`.

    ``points`` (leaves, d, 16) float64.

    Arrays: ``labels`` (places,) int32, ``total`` (k, d + 1) float64.
    """
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
def assign_part(nodes: Nodes, centres: Float64, level: int, position: int, labels: Int32) -> tuple[Int32, Float64]:
    """Return the centres (near,) int32 that may be nearest to points below one node, and their sums.

    The sums (near, d + 1) float64 hold the sum and the number of each centre's points. With ``labels`` (places,) int32
    each point's nearest of ``centres`` (k, d) float64 is written there in place of summing.
    """
    k, d = centres.shape
    points, offsets = nodes.points, nodes.offsets
    near = Near(np.empty((level + 2) * k + 1, np.int32), np.empty((d, (level + 2) * k + 1)), np.empty(k))
    for c in range(k):
        near.ids[c] = c
        for j in range(d):
            near.held[j, c] = centres[c, j]
    lanes = Lanes(np.empty(LEAF), np.empty(LEAF), np.empty(LEAF, np.int64))
    total = np.zeros((k if len(labels) == 0 else 1, d + 1))
    stack = np.empty(((level + 1) * FAN + 1, 4), np.int64)
    kept = keep_near(nodes, offsets[level] + position, near, 0, k) - k
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = level, position, 0, k
    depth = 1
    while depth > 0:
        depth -= 1
        at, i, begin, stop = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3]
        node = offsets[at] + i
        end = k + kept if at == level else keep_near(nodes, node, near, begin, stop)
        if end - stop == 1:
            settle_node(nodes, at, i, near.ids[stop], total, labels)
        elif at == 0:
            leaf_nearest(points, i, near, stop, end, lanes)
            settle_leaf(points, i, nodes.counts[node], lanes.nearest, total, labels)
        else:
            for child in range(min((i + 1) * FAN, nodes.sizes[at - 1]) - 1, i * FAN - 1, -1):
                stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = at - 1, child, stop, end
                depth += 1
    found = near.ids[k : k + kept].copy()
    if len(labels) > 0:
        return found, np.empty((0, d + 1))
    compact = np.empty((kept, d + 1))
    for t in range(kept):
        compact[t] = total[found[t]]
    return found, compact


@kernel
def assign_parts(nodes: Nodes, centres: Float64, level: int, parts: int, labels: Int32, total: Float64) -> None:
    """Run `assign_part` for each part in turn and add it up in ``total`` (k, d + 1) float64.

    One call for all parts, because calls cost more than the work where parts are small.

    Arrays: ``centres`` (k, d) float64, ``labels`` (places,) int32.
    """
    for part in range(parts):
        near, compact = assign_part(nodes, centres, level, part, labels)
        for t in range(len(compact)):
            for j in range(compact.shape[1]):
                total[near[t], j] += compact[t, j]
