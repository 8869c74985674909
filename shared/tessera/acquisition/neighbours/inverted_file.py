"""Approximate nearest neighbours in high dimension: points sorted into cells, of which a query searches a few.

An inverted file (Jégou et al. 2011, §V.A, without compression). The same on any number of threads and for any order of
queries. Imported in the compute child only: it brings numba.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tessera.acquisition.interfaces import Float32, State
from tessera.acquisition.neighbours.nearest_centre import closest, finish, offer
from tessera.acquisition.neighbours.threads import each
from tessera.errors import BadInput

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

# Cells that a query searches. Recall of 15 neighbours is above .95 on features of networks.
PROBES = 8
# Additional candidates, so that the rounding of products cannot lose a neighbour.
SPARE = 8
_CHUNK = 8192
_ITERATIONS = 3
_SAMPLE = 32


@dataclass(frozen=True)
class InvertedFile:
    """Points (n, D) in the order of their cells; build with ``InvertedFile.build``."""

    points: Float32
    # (n,) original index of each of ``points``, and its squared norm about ``middle``.
    rows: Int64
    norms: Float32
    # (cells, D) centres, (cells,) squared norms, (cells + 1,) where each cell starts.
    centres: Float32
    centre_norms: Float32
    starts: Int64
    # (D,) subtracted before products.
    middle: Float32

    @classmethod
    def build(cls, points: Float32, seed: int) -> InvertedFile:
        """Build cells of about √n / 2 points around centres that ``seed`` starts, n ≥ 1."""
        n = len(points)
        middle = points.mean(axis=0, dtype=np.float64).astype(np.float32)
        x = points - middle
        count = max(1, min(n, round(2.0 * n**0.5)))
        rng = np.random.default_rng(seed)
        sample = x[np.sort(rng.choice(n, min(n, _SAMPLE * count), replace=False))]
        centres = sample[np.sort(rng.choice(len(sample), count, replace=False))].astype(np.float32)
        for _ in range(_ITERATIONS):
            centres = _means(sample, closest(sample, centres)[1], centres)
        label = closest(x, centres)[1]
        rows = np.argsort(label, kind="stable")
        starts = np.searchsorted(label[rows], np.arange(count + 1))
        return cls._of(x[rows], rows, centres, starts, middle)

    @classmethod
    def _of(cls, x: Float32, rows: Int64, centres: Float32, starts: Int64, middle: Float32) -> InvertedFile:
        return cls(x, rows, _norms(x), centres, _norms(centres), starts, middle)

    def state(self) -> State:
        """Return the arrays that ``restore`` needs beside the points: the centres and a few bytes per point."""
        return {
            "cell_rows": self.rows.astype(np.int32),
            "cell_starts": np.asarray(self.starts, np.int64),
            "cell_centres": self.centres,
            "cell_middle": self.middle,
        }

    @classmethod
    def restore(cls, points: Float32, state: State) -> InvertedFile:
        """Return the cells whose ``state`` was kept, bit for bit, from the same ``points`` (n, D); else BadInput."""
        rows, starts = state["cell_rows"].astype(np.int64), state["cell_starts"].astype(np.int64)
        centres, middle = state["cell_centres"], state["cell_middle"]
        n, width = points.shape
        fit = centres.ndim == 2 and len(centres) > 0 and centres.shape[1:] == middle.shape == (width,)
        fit = fit and rows.shape == (n,) and starts.shape == (len(centres) + 1,)
        # Kernels do not check bounds.
        fit = fit and bool((np.bincount(np.clip(rows, 0, n - 1), minlength=n) == 1).all() and (rows >= 0).all())
        if not fit or rows.max() >= n or starts[0] != 0 or starts[-1] != n or (np.diff(starts) < 0).any():
            raise BadInput("projection: its cells do not fit its training points; fit it again")
        return cls._of((points - middle)[rows], rows, centres, starts, middle)

    def nearest(self, queries: Float32, k: int, *, self_first: bool = False) -> tuple[Int32, Float32]:
        """Return indices and Euclidean distances (m, k) of about the k nearest points of each query (m, D), sorted.

        Distances are exact, and coinciding points are at exactly 0; equal distances go to the smaller index. Where the
        searched cells hold fewer than k points, all points are searched. ``self_first`` is for queries that are the
        points in their own order: each leads its own list. k ≤ n.
        """
        m = len(queries)
        indices, distances = np.empty((m, k), np.int32), np.empty((m, k), np.float32)

        def chunk(at: int) -> None:
            part = slice(at * _CHUNK, min(m, (at + 1) * _CHUNK))
            own = np.arange(part.start, part.stop) if self_first else np.full(part.stop - part.start, -1)
            self._chunk(queries[part] - self.middle, own, indices[part], distances[part])

        with threadpool_limits(1):
            each(chunk, -(-m // _CHUNK))
        return indices, distances

    def _chunk(self, x: Float32, own: Int64, indices: Int32, distances: Float32) -> None:
        k = indices.shape[1]
        cells = self._cells_of(x)
        # Queries of one cell follow each other, so that its points are read once.
        together = np.argsort(cells[:, 0], kind="stable")
        x, cells, own = x[together], cells[together], own[together]
        keep = min(len(self.points), k + SPARE)
        held, found = np.full((len(x), keep), np.inf, np.float32), np.full((len(x), keep), -1, np.int64)
        order = np.argsort(cells.reshape(-1), kind="stable")
        bounds = np.searchsorted(cells.reshape(-1)[order], np.arange(len(self.centres) + 1))
        for cell in range(len(self.centres)):
            begin, stop = self.starts[cell], self.starts[cell + 1]
            mine = order[bounds[cell] : bounds[cell + 1]] // cells.shape[1]
            if len(mine) and stop > begin:
                products = x[mine] @ self.points[begin:stop].T
                offer(products, self.norms[begin:stop], mine, begin, held, found)
        lacking = np.flatnonzero(found[:, k - 1] < 0)
        if len(lacking):
            held[lacking], found[lacking] = np.inf, -1
            offer(x[lacking] @ self.points.T, self.norms, lacking, 0, held, found)
        sorted_indices, sorted_distances = np.empty_like(indices), np.empty_like(distances)
        finish(x, self.points, self.rows, found, own, sorted_indices, sorted_distances)
        indices[together], distances[together] = sorted_indices, sorted_distances

    def _cells_of(self, x: Float32) -> Int64:
        """Return the cells (m, probes) whose centres are nearest, decided in float64."""
        probes = min(PROBES, len(self.centres))
        keep = min(len(self.centres), probes + SPARE)
        held, found = np.full((len(x), keep), np.inf, np.float32), np.full((len(x), keep), -1, np.int64)
        offer(x @ self.centres.T, self.centre_norms, np.arange(len(x)), 0, held, found)
        cells, distances = np.empty((len(x), probes), np.int32), np.empty((len(x), probes), np.float32)
        finish(x, self.centres, np.arange(len(self.centres)), found, np.full(len(x), -1), cells, distances)
        return cells.astype(np.int64)


def _norms(x: Float32) -> Float32:
    return np.asarray(np.einsum("nd,nd->n", x, x), np.float32)


def _means(x: Float32, label: Int64, centres: Float32) -> Float32:
    order = np.argsort(label, kind="stable")
    full, starts = np.unique(label[order], return_index=True)
    means = centres.copy()
    counts = np.diff(np.append(starts, len(x)))
    means[full] = np.add.reduceat(x[order], starts, axis=0, dtype=np.float64) / counts[:, None]
    return means
