"""Places new points in a fitted UMAP map, each by itself: the same on any number of threads.

McInnes et al. 2018, §3.2: attraction along edges, repulsion from random points. Imported in the compute child only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32
from tessera.compile import kernel

Int32 = npt.NDArray[np.int32]

# The forces are functions of the squared distance, read from tables: 64 entries per octave, linear between them.
OCTAVES_BELOW = 40
OCTAVES_ABOVE = 30
PER_OCTAVE = 64
LARGEST_STEP = np.float32(4.0)
NEGATIVES = 5


class Fitted(NamedTuple):
    """The map that new points are placed in."""

    points: Float32
    """(n, d) float32, the fitted points."""
    tables: Float32
    """(2, entries) float32, attraction and repulsion; see `force_tables`."""


class Steps(NamedTuple):
    """Number and length of the steps of new points."""

    epochs: int
    rate: float
    """Learning rate of the first epoch; it falls linearly to 0."""
    seed: np.uint64


def force_tables(a: float, b: float) -> Float32:
    """Return (2, entries) attraction and repulsion per unit of difference; 64 entries per octave of d², linear in it.

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
    """Return the force at a squared distance from 2^-40 to 2^30; ``table`` (entries,) float32."""
    place = np.float32(squared).view(np.int32) - np.int32((127 - 40) << 23)
    last = np.int32(len(table) - 2)
    entry = min(last, max(np.int32(0), place >> 17))
    part = np.float32(place & 0x1FFFF) * np.float32(1.0 / 0x20000)
    return np.float32(table[entry] + part * (table[entry + 1] - table[entry]))


@kernel
def mixed(word: np.uint64) -> np.uint64:
    """Return the output of a SplitMix64 stream for one state."""
    z = word
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def clipped(step: np.float32) -> np.float32:
    """Return ``value`` clipped to −4 … 4, umap-learn's limit of one step."""
    step = step if step < LARGEST_STEP else LARGEST_STEP
    return step if step > -LARGEST_STEP else -LARGEST_STEP


@kernel
def drawn(state: np.uint64, n: np.uint64) -> Any:
    """Return the point among n that a state of the stream draws: the high half of a product is uniform in 0…n − 1."""
    return np.int64(((mixed(state) >> np.uint64(32)) * n) >> np.uint64(32))


@kernel
def pull(position: Float32, origin: Float32, other: Float32, j: Any, table: Float32, rate: np.float32) -> None:
    """Move ``position`` (d,) by the force of ``table`` at ``origin`` (d,), along its difference from row ``j``.

    Arrays: ``other`` (n, d) float32, ``position`` and ``origin`` float32, ``table`` (entries,) float32.
    """
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
    """Return the clipped force in 2-D, in registers; none between points that coincide, whose difference is zero.

    Arrays: ``other`` (n, 2) float32, ``table`` (entries,) float32.
    """
    across, along = x - other[j, 0], y - other[j, 1]
    force = look_up(table, across * across + along * along)
    return clipped(force * across), clipped(force * along)


@kernel
def move_point(
    position: Float32, fitted: Fitted, neighbors: Int32, often: Float32, epoch: int, rate: np.float32, state: np.uint64
) -> np.uint64:
    """Move ``position`` (d,) float32 by one epoch in place and return the stream's new state.

    Each of the k edges whose turn it is, to ``neighbors`` (k,) int32, pulls; then five random points push at once. All
    five push from the same position, and their forces are added in the order drawn; umap-learn applies them one after
    the other, each from the position that the one before left. An edge has its turn in a share ``often`` (k,) float32
    of all epochs: when a whole number lies in ((epoch − 1) · often, epoch · often].
    """
    other, attraction, repulsion = fitted.points, fitted.tables[0], fitted.tables[1]
    n = np.uint64(len(other))
    now, before = np.float32(epoch), np.float32(epoch - 1)
    flat = len(position) == 2
    x, y = position[0], position[len(position) - 1]
    origin = np.empty(0 if flat else len(position), np.float32)
    for edge in range(len(neighbors)):
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
    """Write the membership strengths ``weights`` (m, k) float32 of new points begin…stop in the fitted ones.

    ``distances`` (m, k) float32 are to the fitted ones, nearest first.

    The strength is exp(−d / σ) with σ such that all but the first add up to log2 k: umap-learn's ``smooth_knn_dist``
    with local connectivity 0, but σ at least a thousandth of the point's own mean distance, so that no point depends on
    others.
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
    """Write the places (m, d) float32: the weighted mean of the neighbours' places in ``fixed`` (n, d) float32.

    ``indices`` int32, ``distances`` and ``weights`` float32 are (m, k). A point at distance 0 from a fitted one takes
    its place, as in umap-learn.

    Arrays: ``places`` are written from begin to stop.
    """
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
def settle(positions: Float32, neighbors: Int32, weights: Float32, fitted: Fitted, steps: Steps) -> None:
    """Move the new points ``positions`` (m, d) float32 in place, each by a stream that its own place starts.

    ``neighbors`` int32 and ``weights`` float32, both (m, k), are each point's edges into the fitted map.
    """
    k = neighbors.shape[1]
    often = np.empty(k, np.float32)
    for i in range(len(positions)):
        position = positions[i]
        largest = weights[i].max()
        for t in range(k):
            share = weights[i, t] / largest
            often[t] = share if share * steps.epochs >= 1.0 else 0.0
        state = steps.seed
        for axis in range(len(position)):
            state = mixed(state + np.uint64(position[axis : axis + 1].view(np.int32)[0] & 0xFFFFFFFF) + np.uint64(1))
        for epoch in range(steps.epochs):
            rate = np.float32(steps.rate * (1.0 - epoch / steps.epochs))
            state = move_point(position, fitted, neighbors[i], often, epoch, rate, state)
