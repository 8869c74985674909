"""k-means++ seeds by exact pruning: a new centre visits only the leaves in which it can be the nearest.

Imported in the compute child only: it brings numba.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tessera.acquisition.clustering.kd_tree import Nodes
from tessera.acquisition.neighbours.checks import Float64, Int64
from tessera.compile import kernel

LEAF = 16
FAN = 4


class Held(NamedTuple):
    """Squared distances D² to the nearest seed so far; changed in place."""

    nearest: Float64
    """(leaves, 16) float64, D² of every point; 0 at the places behind the last one."""
    worst: Float64
    """(nodes,) float64, largest D² in each node."""
    weight: Float64
    """(nodes,) float64, Σ D² of each node."""


@kernel
def box_distance(low: Float64, high: Float64, node: int, centre: Float64) -> float:
    """Return the squared distance of ``centre`` (d,) to a box, never above the one computed for any point in the box.

    Rounding is monotone, and the operations are those of ``leaf_distances`` in the same order.

    Arrays: ``low`` and ``high`` (nodes, d) float64, ``centre`` float64.
    """
    total = 0.0
    for j in range(len(centre)):
        below, above = low[node, j] - centre[j], centre[j] - high[node, j]
        gap = below if below > above else above
        gap = gap if gap > 0.0 else 0.0
        total += gap * gap
    return total


@kernel
def box_distance_2d(low: Float64, high: Float64, node: int, x: float, y: float) -> float:
    """Return the same in 2-D, where the loop would cost more than its body.

    Arrays: ``low`` and ``high`` (nodes, 2) float64.
    """
    below, above = low[node, 0] - x, x - high[node, 0]
    across = below if below > above else above
    across = across if across > 0.0 else 0.0
    below, above = low[node, 1] - y, y - high[node, 1]
    along = below if below > above else above
    along = along if along > 0.0 else 0.0
    return across * across + along * along


@kernel
def leaf_distances(points: Float64, leaf: int, centre: Float64, out: Float64) -> None:
    """Write squared distances of a leaf's points to ``centre``, coordinate after coordinate, to ``out`` (16,).

    Arrays: ``points`` (leaves, d, 16) float64, ``centre`` (d,) float64, ``out`` float64.
    """
    if len(centre) == 2:
        x, y = centre[0], centre[1]
        for i in range(LEAF):
            across, along = points[leaf, 0, i] - x, points[leaf, 1, i] - y
            out[i] = across * across + along * along
        return
    value = centre[0]
    for i in range(LEAF):
        gap = points[leaf, 0, i] - value
        out[i] = gap * gap
    for j in range(1, len(centre)):
        value = centre[j]
        for i in range(LEAF):
            gap = points[leaf, j, i] - value
            out[i] += gap * gap


@kernel
def lane_sum(values: Float64) -> float:
    """Sum 16 values in four lanes.

    Arrays: ``values`` (16,) float64.
    """
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(0, LEAF, 4):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
    return (a + b) + (c + d)


@kernel
def improvable(nodes: Nodes, worst: Float64, centre: Float64, stack: Int64, out: Int64) -> int:
    """Write the leaves that hold a point which ``centre`` (d,) might be nearer to, ascending; return their number.

    ``worst`` (nodes,) float64 is the largest D² in each node; ``stack`` (levels · 4 + 1, 2) int64 is scratch; the
    leaves go to ``out`` (leaves,) int64.
    """
    low, high, sizes, offsets = nodes.low, nodes.high, nodes.sizes, nodes.offsets
    top = len(sizes) - 1
    if box_distance(low, high, offsets[top], centre) >= worst[offsets[top]]:
        return 0
    if top == 0:
        out[0] = 0
        return 1
    flat = len(centre) == 2
    x, y = centre[0], centre[len(centre) - 1]
    found = 0
    stack[0, 0], stack[0, 1] = top, 0
    depth = 1
    while depth > 0:
        depth -= 1
        level, i = stack[depth, 0] - 1, stack[depth, 1]
        base = offsets[level]
        first, last = i * FAN, min((i + 1) * FAN, sizes[level])
        if level == 0:
            for child in range(first, last):
                near = box_distance_2d(low, high, child, x, y) if flat else box_distance(low, high, child, centre)
                if near < worst[child]:
                    out[found] = child
                    found += 1
            continue
        for child in range(last - 1, first - 1, -1):
            node = base + child
            near = box_distance_2d(low, high, node, x, y) if flat else box_distance(low, high, node, centre)
            if near < worst[node]:
                stack[depth, 0], stack[depth, 1] = level, child
                depth += 1
    return found


@kernel
def gain(points: Float64, nearest: Float64, leaves: Int64, number: int, centre: Float64, scratch: Float64) -> float:
    """Return the decrease of Σ D² by ``centre``, summed over the given leaves in order.

    Arrays: ``points`` (leaves, d, 16), ``nearest`` (leaves, 16) and ``centre`` (d,) float64, ``leaves`` (number,)
    int64, ``scratch`` (16,) float64.
    """
    total = 0.0
    for t in range(number):
        leaf = leaves[t]
        leaf_distances(points, leaf, centre, scratch)
        for i in range(LEAF):
            less = nearest[leaf, i] - scratch[i]
            scratch[i] = less if less > 0.0 else 0.0
        total += lane_sum(scratch)
    return total


@kernel
def insert(nodes: Nodes, held: Held, leaves: Int64, number: int, centre: Float64, scratch: Float64) -> None:
    """Add the seed ``centre`` (d,): lower D² in the first ``number`` of ``leaves`` and update their parents.

    ``leaves`` (leaves,) int64 is overwritten; ``scratch`` (16,) float64.
    """
    points, sizes, offsets = nodes.points, nodes.sizes, nodes.offsets
    nearest, worst, weight = held
    for t in range(number):
        leaf = leaves[t]
        leaf_distances(points, leaf, centre, scratch)
        largest = 0.0
        for i in range(LEAF):
            before, after = nearest[leaf, i], scratch[i]
            after = after if after < before else before
            nearest[leaf, i] = after
            scratch[i] = after
        for i in range(LEAF):
            largest = scratch[i] if scratch[i] > largest else largest
        weight[leaf] = lane_sum(scratch)
        worst[leaf] = largest
    for level in range(1, len(sizes)):
        parents = 0
        for t in range(number):
            parent = leaves[t] // FAN
            if parents > 0 and leaves[parents - 1] == parent:
                continue
            leaves[parents] = parent
            parents += 1
            largest, total = 0.0, 0.0
            below = offsets[level - 1]
            for child in range(below + parent * FAN, below + min((parent + 1) * FAN, sizes[level - 1])):
                largest = worst[child] if worst[child] > largest else largest
                total += weight[child]
            worst[offsets[level] + parent] = largest
            weight[offsets[level] + parent] = total
        number = parents


@kernel
def draw(held: Held, sizes: Int64, offsets: Int64, uniform: float) -> int:
    """Return the place in the order at which the running sum of D² passes ``uniform`` · Σ D², found from the root down.

    Only places of positive D² are drawn, also when rounding passes the end. Σ D² must be positive. ``sizes`` and
    ``offsets`` int64 are those of `Nodes`.
    """
    nearest, weight = held.nearest, held.weight
    i = 0
    target = uniform * weight[offsets[len(sizes) - 1]]
    for level in range(len(sizes) - 2, -1, -1):
        base = offsets[level]
        first, last = i * FAN, min((i + 1) * FAN, sizes[level])
        i = -1
        for child in range(first, last):
            if weight[base + child] > 0.0:
                i = child
                if target < weight[base + child]:
                    break
                target -= weight[base + child]
    place = -1
    for t in range(LEAF):
        if nearest[i, t] > 0.0:
            place = i * LEAF + t
            if target < nearest[i, t]:
                break
            target -= nearest[i, t]
    return place


@kernel
def centre_at(points: Float64, place: int, out: Float64) -> None:
    """Copy the coordinates of the point at a place in the order.

    Arrays: ``points`` (leaves, d, 16) float64, ``out`` (d,) float64.
    """
    for j in range(len(out)):
        out[j] = points[place // LEAF, j, place % LEAF]


@kernel
def seeds(nodes: Nodes, count: int, first: int, uniforms: Float64) -> Int64:
    """Return the places (≤ k,) int64 in the order of the seeds: ``first``, then one for each row of ``uniforms``.

    ``uniforms`` (k − 1, trials) float64 in [0, 1); ``count`` is the number of points. Fewer seeds when every point
    coincides with one before the end.
    """
    points, sizes, offsets = nodes.points, nodes.sizes, nodes.offsets
    leaves, d, _ = points.shape
    nearest = np.full((leaves, LEAF), np.inf)
    for i in range(count, leaves * LEAF):
        nearest[i // LEAF, i % LEAF] = 0.0
    root = offsets[len(sizes)] - 1
    held = Held(nearest, np.full(root + 1, np.inf), np.zeros(root + 1))
    scratch, centre = np.empty(LEAF), np.empty(d)
    stack = np.empty((len(sizes) * FAN + 1, 2), np.int64)
    touched, kept = np.empty(leaves, np.int64), np.empty(leaves, np.int64)
    steps, trials = uniforms.shape
    chosen = np.empty(steps + 1, np.int64)
    chosen[0] = first
    centre_at(points, first, centre)
    number = improvable(nodes, held.worst, centre, stack, touched)
    insert(nodes, held, touched, number, centre, scratch)
    for step in range(steps):
        if not held.weight[root] > 0.0:
            return chosen[: step + 1]
        best, best_gain, kept_number = -1, -1.0, 0
        for trial in range(trials):
            place = draw(held, sizes, offsets, uniforms[step, trial])
            centre_at(points, place, centre)
            number = improvable(nodes, held.worst, centre, stack, touched)
            gained = 0.0
            if trials > 1:
                gained = gain(points, nearest, touched, number, centre, scratch)
            if gained > best_gain:
                best, best_gain, kept_number = place, gained, number
                touched, kept = kept, touched
        chosen[step + 1] = best
        centre_at(points, best, centre)
        insert(nodes, held, kept, kept_number, centre, scratch)
    return chosen
