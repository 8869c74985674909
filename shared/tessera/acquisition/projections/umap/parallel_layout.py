"""UMAP's layout on all threads of the job, and the place of new points in a fitted one.

Imported in the compute child only: it brings numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32, Int32
from tessera.acquisition.neighbours.threads import each
from tessera.acquisition.projections.umap.parallel_layout_kernel import (
    epoch_of,
    force_tables,
    mean_place,
    settle,
    strengths,
)

_BLOCKS = 32
_RATE = 1.0
# umap-learn: a quarter of the fit's learning rate.
_RATE_OF_NEW = 0.25


def lay_out(graph: Any, start: Float32, epochs: int, curve: tuple[float, float], seed: int) -> Float32:
    """Embedding (n, d) float32 of a fuzzy graph (scipy sparse, n × n, symmetric) after ``epochs`` from ``start``.

    In an epoch all points step from where everyone was at its beginning, and each draws from a stream of its own, so
    that the result is the same on any number of threads.
    """
    edges, tables = _edges(graph, epochs), force_tables(*curve)
    before = np.ascontiguousarray(start, np.float32).copy()
    after = before.copy()
    n = len(before)
    key = np.uint64(seed % 2**64)

    def step(epoch: int) -> None:
        rate = _RATE * (1.0 - (epoch - 1) / epochs)
        each(lambda i: epoch_of(before, after, *edges, tables, epoch, rate, key, *_part(n, i)), _BLOCKS)

    for epoch in range(1, epochs + 1):
        step(epoch)
        before, after = after, before
    return before


def settle_in(
    neighbors: Int32, distances: Float32, fixed: Float32, epochs: int, curve: tuple[float, float], seed: int
) -> Float32:
    """Places (m, d) float32 of new points after ``epochs`` among the ``fixed`` ones (n, d), which stay.

    ``neighbors`` and ``distances`` (m, k) are the nearest fixed points in feature space, nearest first. A point starts
    at their weighted mean, from which its stream of random numbers starts too: neither the order of points nor what
    else is placed matters.
    """
    m = len(neighbors)
    still = np.ascontiguousarray(fixed, np.float32)
    weights, places = np.empty(distances.shape, np.float32), np.empty((m, still.shape[1]), np.float32)
    tables, key = force_tables(*curve), np.uint64(seed % 2**64)

    def part(i: int) -> None:
        begin, stop = _part(m, i)
        strengths(distances, begin, stop, weights)
        mean_place(neighbors, distances, weights, still, begin, stop, places)
        settle(places, still, neighbors, weights, tables, epochs, _RATE_OF_NEW, key, begin, stop)

    each(part, _BLOCKS)
    return places


def components(space: Float32, dimensions: int, seed: int) -> Float32:
    """Starting layout (n, d): leading principal components scaled to ±10, plus noise so that no two coincide.

    From the covariance, which is cheaper than singular values when n is large; each component's largest entry is made
    positive.
    """
    middle = space.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((space.shape[1], space.shape[1]))
    for begin in range(0, len(space), 4096):
        x = space[begin : begin + 4096] - middle
        covariance += x.T @ x
    vectors = np.linalg.eigh(covariance)[1][:, ::-1][:, :dimensions]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    layout = np.zeros((len(space), dimensions))
    layout[:, : vectors.shape[1]] = (space - middle.astype(np.float32)) @ vectors
    largest = np.abs(layout).max(initial=0.0)
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=layout.shape)
    return np.asarray(layout * (10.0 / largest if largest > 0 else 1.0) + noise, np.float32)


def _part(n: int, i: int) -> tuple[int, int]:
    return n * i // _BLOCKS, n * (i + 1) // _BLOCKS


def _edges(graph: Any, epochs: int) -> tuple[Int32, Float32, npt.NDArray[np.int64]]:
    """Neighbour of each edge, the part of the epochs in which it has its turn, and where each point's edges start.

    The strongest edge has its turn in every epoch; ones too weak for a single turn are left out, as in umap-learn.
    """
    rows = graph.tocsr()
    rows.sum_duplicates()
    often = rows.data / rows.data.max(initial=np.finfo(np.float32).tiny)
    rows.data = np.where(often < 1.0 / max(1, epochs), 0.0, often).astype(np.float32)
    rows.eliminate_zeros()
    return rows.indices.astype(np.int32), rows.data, rows.indptr.astype(np.int64)
