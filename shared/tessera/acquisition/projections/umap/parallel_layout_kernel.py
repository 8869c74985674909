"""UMAP's layout with every step against old positions: the same on any number of threads, and fast.

McInnes et al. 2018, §3.2: attraction along edges, repulsion from random points. Imported in the compute child only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32
from tessera.compile import kernel

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

# The forces are functions of the squared distance, read from tables: 64 entries an octave of it, linear between them.
OCTAVES_BELOW = 40
OCTAVES_ABOVE = 30
PER_OCTAVE = 64
LARGEST_STEP = np.float32(4.0)
NEGATIVES = 5


def force_tables(a: float, b: float) -> Float32:
    """(2, entries) attraction and repulsion, per unit of difference, at d² = 2^(i/64 − 40) within an octave linear.

    The gradients of umap-learn's ``optimize_layout_euclidean`` (γ = 1): −2ab d^(2b−2) / (1 + a d^2b), and
    2b / ((0.001 + d²)(1 + a d^2b)).
    """
    steps = np.arange((OCTAVES_BELOW + OCTAVES_ABOVE) * PER_OCTAVE + 1)
    squared = np.ldexp(1.0 + (steps % PER_OCTAVE) / PER_OCTAVE, steps // PER_OCTAVE - OCTAVES_BELOW)
    power = squared**b
    attraction = -2.0 * a * b * power / squared / (1.0 + a * power)
    repulsion = 2.0 * b / ((0.001 + squared) * (1.0 + a * power))
    return np.stack([attraction, repulsion]).astype(np.float32)


@kernel
def look_up(table: Float32, squared: np.float32) -> np.float32:
    """The force at a squared distance, from 2^-40 to 2^30."""
    place = np.float32(squared).view(np.int32) - np.int32((127 - 40) << 23)
    last = np.int32(len(table) - 2)
    entry = min(last, max(np.int32(0), place >> 17))
    part = np.float32(place & 0x1FFFF) * np.float32(1.0 / 0x20000)
    return np.float32(table[entry] + part * (table[entry + 1] - table[entry]))


@kernel
def mixed(word: np.uint64) -> np.uint64:
    """The output of a SplitMix64 stream at a state."""
    z = word
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def clipped(step: np.float32) -> np.float32:
    """At most 4 either way, umap-learn's limit of one step."""
    step = step if step < LARGEST_STEP else LARGEST_STEP
    return step if step > -LARGEST_STEP else -LARGEST_STEP


@kernel
def drawn(state: np.uint64, n: np.uint64) -> Any:
    """The point among n that a state of the stream draws: the high half of the product is uniform in 0…n − 1."""
    return np.int64(((mixed(state) >> np.uint64(32)) * n) >> np.uint64(32))


@kernel
def pull(position: Float32, origin: Float32, other: Float32, j: Any, table: Float32, rate: np.float32) -> None:
    """Move ``position`` (d,) by the force of ``table`` at ``origin`` (d,), along its difference from row ``j``."""
    squared = np.float32(0.0)
    for axis in range(len(position)):
        gap = origin[axis] - other[j, axis]
        squared += gap * gap
    if squared > np.float32(0.0):
        force = look_up(table, squared)
        for axis in range(len(position)):
            position[axis] += clipped(force * (origin[axis] - other[j, axis])) * rate


@kernel
def force_2d(x: np.float32, y: np.float32, other: Float32, j: Any, table: Float32) -> tuple[np.float32, np.float32]:
    """The clipped force in 2-D, in registers; none between points that coincide, whose difference is zero."""
    across, along = x - other[j, 0], y - other[j, 1]
    force = look_up(table, across * across + along * along)
    return clipped(force * across), clipped(force * along)


@kernel
def move_point(
    position: Float32,
    other: Float32,
    neighbors: Int32,
    often: Float32,
    begin: int,
    stop: int,
    epoch: int,
    tables: Float32,
    rate: np.float32,
    state: np.uint64,
) -> np.uint64:
    """One epoch of one point: each edge whose turn it is pulls, then five random points push at once.

    The five push from where the pull has left the point, and what they do is added up in the order drawn; umap-learn
    takes them one after the other, so that each waits for the one before. An edge has its turn in the part ``often`` of
    all epochs: when a whole number lies in ((epoch − 1) · often, epoch · often]. Returns the stream's new state.
    """
    attraction, repulsion = tables[0], tables[1]
    n = np.uint64(len(other))
    now, before = np.float32(epoch), np.float32(epoch - 1)
    flat = len(position) == 2
    x, y = position[0], position[len(position) - 1]
    origin = np.empty(0 if flat else len(position), np.float32)
    for edge in range(begin, stop):
        if np.int32(now * often[edge]) == np.int32(before * often[edge]):
            continue
        if flat:
            across, along = force_2d(x, y, other, neighbors[edge], attraction)
            x += across * rate
            y += along * rate
        else:
            origin[:] = position
            pull(position, origin, other, neighbors[edge], attraction, rate)
        if flat:
            from_x, from_y = x, y
            for _ in range(NEGATIVES):
                state += np.uint64(0x9E3779B97F4A7C15)
                across, along = force_2d(from_x, from_y, other, drawn(state, n), repulsion)
                x += across * rate
                y += along * rate
        else:
            origin[:] = position
            for _ in range(NEGATIVES):
                state += np.uint64(0x9E3779B97F4A7C15)
                pull(position, origin, other, drawn(state, n), repulsion, rate)
    if flat:
        position[0], position[1] = x, y
    return state


@kernel
def strengths(distances: Float32, begin: int, stop: int, weights: Float32) -> None:
    """Membership strengths (m, k) of new points in the fitted ones at ``distances`` (m, k), nearest first.

    exp(−d / σ) with σ such that all but the first add up to log2 k: umap-learn's ``smooth_knn_dist`` with local
    connectivity 0, but σ at least a thousandth of the point's own mean distance, so that no point depends on others.
    """
    k = distances.shape[1]
    target = np.log2(float(k))
    for i in range(begin, stop):
        mean = 0.0
        for t in range(k):
            mean += distances[i, t] / k
        low, high, sigma = 0.0, np.inf, mean
        for _ in range(64):
            total = 0.0
            for t in range(1, k):
                total += np.exp(-distances[i, t] / sigma) if distances[i, t] > 0.0 else 1.0
            if abs(total - target) < 1e-5 or not sigma > 0.0:
                break
            if total > target:
                high = sigma
                sigma = 0.5 * (low + high)
            else:
                low = sigma
                sigma = 2.0 * sigma if high == np.inf else 0.5 * (low + high)
        sigma = max(sigma, 1e-3 * mean)
        for t in range(k):
            weights[i, t] = np.exp(-distances[i, t] / sigma) if distances[i, t] > 0.0 else 1.0


@kernel
def mean_place(
    indices: Int32, distances: Float32, weights: Float32, fixed: Float32, begin: int, stop: int, places: Float32
) -> None:
    """Weighted mean of the neighbours' places; where a fitted point is, its place, as in umap-learn."""
    d = fixed.shape[1]
    place = np.empty(d)
    for i in range(begin, stop):
        count = 1 if distances[i, 0] == 0.0 else indices.shape[1]
        place[:] = 0.0
        total = 0.0
        for t in range(count):
            total += weights[i, t]
            for axis in range(d):
                place[axis] += np.float64(weights[i, t]) * fixed[indices[i, t], axis]
        for axis in range(d):
            places[i, axis] = place[axis] / total


@kernel
def settle(
    positions: Float32,
    fixed: Float32,
    neighbors: Int32,
    weights: Float32,
    tables: Float32,
    epochs: int,
    rate: float,
    seed: np.uint64,
    begin: int,
    stop: int,
) -> None:
    """Move new points begin…stop among fixed ones, each by a stream that its own place starts."""
    k = neighbors.shape[1]
    often = np.empty(k, np.float32)
    for i in range(begin, stop):
        position = positions[i]
        largest = weights[i].max()
        for t in range(k):
            share = weights[i, t] / largest
            often[t] = share if share * epochs >= 1.0 else 0.0
        state = seed
        for axis in range(len(position)):
            state = mixed(state + np.uint64(position[axis : axis + 1].view(np.int32)[0] & 0xFFFFFFFF) + np.uint64(1))
        for epoch in range(epochs):
            step = np.float32(rate * (1.0 - epoch / epochs))
            state = move_point(position, fixed, neighbors[i], often, 0, k, epoch, tables, step, state)


@kernel
def epoch_of(
    before: Float32,
    after: Float32,
    neighbors: Int32,
    often: Float32,
    starts: Int64,
    tables: Float32,
    epoch: int,
    rate: float,
    seed: np.uint64,
    begin: int,
    stop: int,
) -> None:
    """One epoch of points begin…stop of a fit: everyone moves from ``before`` to ``after`` as if the rest stood still.

    umap-learn moves both ends of an edge for each direction it is stored in, one after the other. Here both ends move
    at once, and moving them twice would carry them past each other: each edge moves its own end.
    """
    for i in range(begin, stop):
        position = after[i]
        position[:] = before[i]
        state = mixed(seed ^ mixed(np.uint64(i) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(epoch)))
        move_point(
            position,
            before,
            neighbors,
            often,
            starts[i],
            starts[i + 1],
            epoch,
            tables,
            np.float32(rate),
            state,
        )
