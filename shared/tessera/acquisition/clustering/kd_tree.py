"""Points of low dimension sorted into leaves of a k-d tree, under boxes with four children per node.

Imported in the compute child only: it brings numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tessera.acquisition.neighbours.checks import Float64, Int64, require_points
from tessera.acquisition.neighbours.threads import each
from tessera.compile import kernel
from tessera.errors import BadInput

LEAF = 16
"""Points per leaf: two vector registers per dimension."""

FAN = 4
"""Children per node."""

LARGEST_DIMENSION = 16
"""Above this dimension a box prunes hardly anything, and products of matrices are faster."""

_PARTS = 16


class Nodes(NamedTuple):
    """Points in leaves and the boxes over them, as kernels take them; every array is read-only by convention."""

    points: Float64
    """(leaves, d, 16) float64; the last leaf is filled up with its last point."""
    low: Float64
    """(nodes, d) float64, lower corner of each node's box."""
    high: Float64
    """(nodes, d) float64, upper corner."""
    sums: Float64
    """(nodes, d) float64, sum of the node's points."""
    counts: Int64
    """(nodes,) int64, number of the node's points."""
    sizes: Int64
    """(levels,) int64, number of nodes of each level, leaves first."""
    offsets: Int64
    """(levels + 1,) int64, where each level starts among the nodes."""


@dataclass(frozen=True)
class Index:
    """n points (n, d) in leaves of 16, under boxes with four children per node.

    The order is the same on any machine; equal coordinates are ordered by row. Coordinates are scaled by 2^-exponent,
    which is exact and keeps squares clear of overflow and underflow.
    """

    count: int
    exponent: int
    rows: Int64
    """(n,) int64, row of the point at each place of the order."""
    nodes: Nodes

    @property
    def dimension(self) -> int:
        """Number of coordinates of a point."""
        return int(self.nodes.points.shape[1])


def build(points: npt.NDArray[np.floating[Any]]) -> Index:
    """Return the index of points (n, d), n ≥ 1, d ≤ 16; BadInput for other shapes and for rows that are not finite."""
    x = require_points(points, "points")
    n, d = x.shape
    if n == 0 or d > LARGEST_DIMENSION:
        raise BadInput(f"points: shape {x.shape}; an index takes 1 point or more in at most {LARGEST_DIMENSION}-D")
    exponent = int(np.frexp(max(x.max(), -x.min()))[1])
    # Two factors: one alone overflows where all points are next to 0.
    half = -exponent // 2
    x = x * np.ldexp(1.0, half) * np.ldexp(1.0, -exponent - half) if exponent else x.copy()
    rows = np.arange(n, dtype=np.int64)
    size = LEAF
    while size < n:
        size *= 2
    part = max(LEAF, size // _PARTS)
    arrange(x, rows, 0, n, size, part)
    each(lambda i: arrange(x, rows, i * part, min(n, (i + 1) * part), part, LEAF), -(-n // part))
    leaves = -(-n // LEAF)
    sizes = [leaves]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // FAN))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    blocks = np.empty((leaves, d, LEAF))
    boxes = np.empty((3, int(offsets[-1]), d))
    counts = np.empty(int(offsets[-1]), np.int64)
    level_sizes = np.array(sizes, np.int64)
    nodes = Nodes(blocks, boxes[0], boxes[1], boxes[2], counts, level_sizes, offsets)
    fill(x, nodes)
    return Index(n, exponent, rows, nodes)


@kernel
def before(x: Float64, rows: Int64, a: int, b: int, axis: int) -> bool:
    """Return whether the point at ``a`` sorts before the one at ``b``; equals go by row.

    Arrays: ``x`` (n, d) float64, ``rows`` (n,) int64.
    """
    return bool((x[a, axis] < x[b, axis]) | ((x[a, axis] == x[b, axis]) & (rows[a] < rows[b])))


@kernel
def swap(x: Float64, rows: Int64, a: int, b: int) -> None:
    """Exchange two points.

    Arrays: ``x`` (n, d) float64 and ``rows`` (n,) int64, both changed in place.
    """
    if x.shape[1] == 2:  # where a loop would cost more than its body
        across, along = x[a, 0], x[a, 1]
        x[a, 0], x[a, 1] = x[b, 0], x[b, 1]
        x[b, 0], x[b, 1] = across, along
        rows[a], rows[b] = rows[b], rows[a]
        return
    for j in range(x.shape[1]):
        held = x[a, j]
        x[a, j] = x[b, j]
        x[b, j] = held
    row = rows[a]
    rows[a] = rows[b]
    rows[b] = row


@kernel
def select(x: Float64, rows: Int64, begin: int, stop: int, target: int, axis: int) -> None:
    """Reorder begin…stop so that the points before ``target`` are those that sort first along ``axis``.

    Arrays: ``x`` (n, d) float64 and ``rows`` (n,) int64, both changed in place.
    """
    while stop - begin > 1:
        low, high, last = begin, (begin + stop) // 2, stop - 1
        if before(x, rows, high, low, axis):
            low, high = high, low
        if before(x, rows, last, high, axis):
            high = low if before(x, rows, last, low, axis) else last
        # The middle one of three goes to the end as pivot.
        swap(x, rows, high, last)
        value, row = x[last, axis], rows[last]
        store = begin
        for i in range(begin, last):
            # Without a branch, which would be mispredicted every second time.
            less = (x[i, axis] < value) | ((x[i, axis] == value) & (rows[i] < row))
            swap(x, rows, i, store)
            store += 1 if less else 0
        swap(x, rows, store, last)
        if target == store:
            return
        if target < store:
            stop = store
        else:
            begin = store + 1


@kernel
def widest(x: Float64, begin: int, stop: int) -> int:
    """Return the axis along which the points spread most, judged by about a thousand of them.

    Arrays: ``x`` (n, d) float64.
    """
    step = max(1, (stop - begin) // 1024)
    axis, spread = 0, -1.0
    for j in range(x.shape[1]):
        least, most = x[begin, j], x[begin, j]
        for i in range(begin, stop, step):
            value = x[i, j]
            least = value if value < least else least
            most = value if value > most else most
        if most - least > spread:
            axis, spread = j, most - least
    return axis


@kernel
def arrange(x: Float64, rows: Int64, begin: int, stop: int, size: int, least: int) -> None:
    """Sort points (n, d) and their rows in place by halving the widest side, until parts hold ``least`` points.

    Parts hold 16 times a power of two, all but the last, so that nodes lie where ``Index`` expects them; ``size`` is
    the first such number that is not below stop − begin.

    Arrays: ``x`` (n, d) float64, ``rows`` (n,) int64.
    """
    stack = np.empty((128, 3), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2] = begin, stop, size
    depth = 1
    while depth > 0:
        depth -= 1
        begin, stop, size = stack[depth, 0], stack[depth, 1], stack[depth, 2]
        while size > least and stop - begin <= size // 2:
            size //= 2
        if size <= least:
            continue
        half = size // 2
        select(x, rows, begin, stop, begin + half, widest(x, begin, stop))
        stack[depth, 0], stack[depth, 1], stack[depth, 2] = begin, begin + half, half
        depth += 1
        stack[depth, 0], stack[depth, 1], stack[depth, 2] = begin + half, stop, half
        depth += 1


@kernel
def fill(x: Float64, nodes: Nodes) -> None:
    """Copy the points (n, d) float64 into the leaves of ``nodes`` and compute each node's box, sum and number.

    Leaves come first. All arrays of ``nodes`` but ``sizes`` and ``offsets`` are written.

    Arrays: ``x`` (n, d) float64.
    """
    blocks, low, high, sums, counts, sizes, offsets = nodes
    n, d = x.shape
    for leaf in range(sizes[0]):
        begin, stop = leaf * LEAF, min((leaf + 1) * LEAF, n)
        counts[leaf] = stop - begin
        for j in range(d):
            least, most, total = np.inf, -np.inf, 0.0
            for i in range(begin, stop):
                value = x[i, j]
                blocks[leaf, j, i - begin] = value
                least, most, total = min(least, value), max(most, value), total + value
            for i in range(stop, begin + LEAF):
                blocks[leaf, j, i - begin] = blocks[leaf, j, stop - begin - 1]
            low[leaf, j], high[leaf, j], sums[leaf, j] = least, most, total
    for level in range(1, len(sizes)):
        for i in range(sizes[level]):
            node = offsets[level] + i
            first = offsets[level - 1] + i * FAN
            last = offsets[level - 1] + min((i + 1) * FAN, sizes[level - 1])
            counts[node] = 0
            for child in range(first, last):
                counts[node] += counts[child]
            for j in range(d):
                least, most, total = np.inf, -np.inf, 0.0
                for child in range(first, last):
                    least, most = min(least, low[child, j]), max(most, high[child, j])
                    total += sums[child, j]
                low[node, j], high[node, j], sums[node, j] = least, most, total
