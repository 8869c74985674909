"""UMAP fitted by umap-learn and stored as plain arrays; transform follows the library's, step by step.

Imported in the compute child only: umap-learn brings numba, scikit-learn and pynndescent.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tessera.acquisition.interfaces import Float32, State
from tessera.acquisition.neighbours.exact import nearest, unit
from tessera.acquisition.projections.pca.principal_components import principal, scores
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.acquisition.neighbours.inverted_file import InvertedFile
    from tessera.acquisition.projections.umap.params import UmapParams

_INT32 = np.iinfo(np.int32)
# Above this many fitted points exact neighbours take minutes, for the fit and for new points. For new points the fitted
# map decides alone, never the number of new ones.
EXACT_LIMIT = 65_536
EXACT_LIMIT_NEW = 16_384
REFINE_EPOCHS = 30


class Umap:
    """One UMAP map. Bit-for-bit repeatable on one machine, whatever its number of threads.

    The layout is umap-learn's own, on one thread. Neighbours are exact for few points and approximate for many
    (``neighbours/inverted_file.py``).
    """

    def __init__(self, params: UmapParams) -> None:
        self._params = params

    def fit(self, features: Float32, seed: int) -> tuple[State, Float32]:
        """Fit to ``features`` (n, D), which must be finite; return state and embedding (n, d) float32.

        ``neighbors`` is clipped to n − 1. Very few points, or points that all coincide, start at their principal
        components in place of the spectral start. BadInput for fewer than 3 points.
        """
        if len(features) < 3:
            raise BadInput(
                f"projection umap: {len(features)} regions cannot be fitted, it takes 3; fit on more regions, or use "
                "projection none"
            )
        params = self._params
        space = self._space(features)
        k = min(params.neighbors, len(space) - 1)
        cells = self._cells(space, seed)
        embedding, a, b = self._layout(space, k, seed, self._neighbors(space, k, cells))
        state: State = {
            "training": features,
            "embedding": embedding,
            "curve": np.array([a, b], np.float64),
            "neighbors": np.array([k], np.int64),
        }
        if cells is not None and self._approximate(len(space), EXACT_LIMIT_NEW):
            state |= cells.state()
        return state, embedding

    def transform(self, state: State, features: Float32, seed: int) -> Float32:
        """Return the embedding (m, d) float32 of new points, which must be finite; the fitted points do not move.

        umap-learn's ``transform`` step for step (exact neighbours, membership strengths with local connectivity 0,
        start at the weighted mean, stochastic refinement), without its shortcut for the fitted points. With ``refine``
        or approximate neighbours the refinement is `placement`'s, in which each point moves by itself.
        """
        training = state["training"]
        if features.ndim != 2 or features.shape[1] != training.shape[1]:
            raise BadInput(
                f"projection umap: features have shape {features.shape}, the fit had {training.shape[1]} dimensions; "
                "use the same model and features for both"
            )
        if len(features) == 0:
            return np.empty((0, state["embedding"].shape[1]), np.float32)
        return self._refine(state, self._space(features), seed)

    def _space(self, features: Float32) -> Float32:
        return unit(features) if self._params.metric == "cosine" else np.ascontiguousarray(features, np.float32)

    def _distances(self, euclidean: Float32) -> Float32:
        if self._params.metric == "cosine":
            return np.asarray(np.square(euclidean) / 2, np.float32)
        return euclidean

    def _approximate(self, points: int, limit: int) -> bool:
        return points > limit if self._params.search == "auto" else self._params.search == "approximate"

    def _cells(self, space: Float32, seed: int) -> InvertedFile | None:
        """Return the cells that neighbours are found by, in the fit or for new points; None where both are exact."""
        if not self._approximate(len(space), EXACT_LIMIT_NEW):
            return None
        from tessera.acquisition.neighbours.inverted_file import InvertedFile

        return InvertedFile.build(space, seed)

    def _neighbors(self, space: Float32, k: int, cells: InvertedFile | None) -> tuple[Any, Float32]:
        """Return each point's own list, itself first."""
        if cells is not None and self._approximate(len(space), EXACT_LIMIT):
            indices, distances = cells.nearest(space, k, self_first=True)
        else:
            with _quiet_single_thread():
                indices, distances = nearest(space, space, k, self_first=True)
        return indices, self._distances(distances)

    def _layout(
        self, space: Float32, k: int, seed: int, neighbors: tuple[Any, Float32]
    ) -> tuple[Float32, float, float]:
        with _quiet_single_thread():
            return self._library_layout(space, k, seed, (*neighbors, None))

    def _library_layout(
        self, space: Float32, k: int, seed: int, neighbors: tuple[Any, ...]
    ) -> tuple[Float32, float, float]:
        params = self._params
        at_components = params.init == "pca" or self._degenerate(space)
        init = start_at_components(space, params.dimensions, seed) if at_components else params.init
        model = _library().UMAP(
            n_neighbors=k,
            n_components=params.dimensions,
            min_dist=params.min_dist,
            metric=params.metric,
            n_epochs=params.epochs,
            init=init,
            random_state=seed % 2**32,
            n_jobs=1,
            precomputed_knn=neighbors,
        )
        embedding = model.fit_transform(space)
        if not np.isfinite(embedding).all():  # the spectral start of a graph that falls apart into points
            model.set_params(init=start_at_components(space, params.dimensions, seed))
            embedding = model.fit_transform(space)
        return np.ascontiguousarray(embedding, np.float32), float(model._a), float(model._b)

    def _degenerate(self, space: Float32) -> bool:
        """Return whether the spectral start cannot be used: it needs more points than eigenvectors, not all equal."""
        return len(space) <= self._params.dimensions + 2 or bool((space == space[0]).all())

    def _refine(self, state: State, space: Float32, seed: int) -> Float32:
        params = self._params
        k, training = int(state["neighbors"][0]), self._space(state["training"])
        approximate = self._approximate(len(training), EXACT_LIMIT_NEW)
        if approximate:
            from tessera.acquisition.neighbours.inverted_file import InvertedFile

            # Maps fitted before cells were kept have none.
            kept = "cell_rows" in state
            cells = InvertedFile.restore(training, state) if kept else InvertedFile.build(training, 0)
            indices, euclidean = cells.nearest(space, k)
        else:
            with _quiet_single_thread():
                indices, euclidean = nearest(space, training, k)
        distances = np.ascontiguousarray(self._distances(euclidean), np.float32)
        if not approximate and params.refine is None:
            with _quiet_single_thread():
                return self._library_refinement(state, indices, distances, seed)
        from tessera.acquisition.projections.umap.placement import place

        epochs = REFINE_EPOCHS if params.refine is None else params.refine
        curve = (float(state["curve"][0]), float(state["curve"][1]))
        return place(indices, distances, state["embedding"], epochs, curve, seed)

    def _library_refinement(
        self, state: State, indices: npt.NDArray[np.int32], distances: Float32, seed: int
    ) -> Float32:
        lib, m = _library(), len(indices)
        a, b = state["curve"]
        fitted = np.ascontiguousarray(state["embedding"], np.float32)
        sigmas, rhos = lib.smooth_knn_dist(distances, float(indices.shape[1]), local_connectivity=0.0)
        rows, cols, weights, _ = lib.compute_membership_strengths(indices, distances, sigmas, rhos, bipartite=True)
        graph = scipy.sparse.coo_matrix((weights, (rows, cols)), shape=(m, len(fitted)))
        start = graph.tocsr()
        start.eliminate_zeros()
        embedding = lib.init_graph_transform(start, fitted)
        epochs = (100 if m <= 10_000 else 30) if self._params.epochs is None else self._params.epochs // 3
        if epochs < 1:
            return np.ascontiguousarray(embedding, np.float32)
        graph.data[graph.data < graph.data.max() / float(epochs)] = 0.0
        graph.eliminate_zeros()
        moved = lib.optimize_layout_euclidean(
            embedding,
            fitted.copy(),
            graph.row,
            graph.col,
            epochs,
            len(fitted),
            lib.make_epochs_per_sample(graph.data, epochs),
            float(a),
            float(b),
            _stream(seed),
            gamma=1.0,
            initial_alpha=0.25,  # umap-learn: a quarter of the fit's learning rate
            negative_sample_rate=5.0,
            parallel=False,
            move_other=False,
        )
        return np.ascontiguousarray(moved, np.float32)


def start_at_components(space: Float32, dimensions: int, seed: int) -> Float32:
    """Return the starting layout (n, d): principal components scaled to ±10, plus seeded noise against coincidence."""
    mean, along, _ = principal(space, min(dimensions, *space.shape))
    layout = np.zeros((len(space), dimensions))
    layout[:, : len(along)] = scores(space, mean, along)
    largest = np.abs(layout).max(initial=0.0)
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=layout.shape)
    return np.asarray(layout * (10.0 / largest if largest > 0 else 1.0) + noise, np.float32)


@functools.cache
def _library() -> Any:
    """Return umap-learn's module, with numba's cache on disk switched on for the kernels that it compiles anew.

    Without the cache every process pays 10 s at its first fit; with it, the first process on a machine does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warns that TensorFlow is missing
        with _compiling_when_called():
            import pynndescent  # noqa: F401  # umap-learn imports it; nothing here calls it
        from umap import layouts, umap_

    kernels = (
        umap_.smooth_knn_dist,
        umap_.compute_membership_strengths,
        umap_.fast_knn_indices,
        layouts._nb_optimize_layout_euclidean_single_epoch,
    )
    for kernel in kernels:
        # RuntimeError: no writable cache, as in a read-only image without NUMBA_CACHE_DIR; slower and otherwise equal.
        with contextlib.suppress(RuntimeError):
            kernel.enable_caching()
    return umap_


@contextlib.contextmanager
def _compiling_when_called() -> Iterator[None]:
    """Have numba compile the kernels that a block declares when they are called, even those that state their types.

    pynndescent states them, so importing it where numba's cache is empty compiles for 18 s what is never called here.
    """
    library: Any = numba
    njit = library.njit

    def without_types(*arguments: Any, **options: Any) -> Any:
        return njit(*(one for one in arguments if inspect.isfunction(one)), **options)

    library.njit = without_types
    try:
        yield
    finally:
        library.njit = njit


def _stream(seed: int) -> npt.NDArray[np.int64]:
    """Return the three words that start umap-learn's random stream, drawn as it draws them: same seed, same stream."""
    generator = _library().check_random_state(seed % 2**32)
    return np.asarray(generator.randint(_INT32.min, _INT32.max, 3), np.int64)


@contextlib.contextmanager
def _quiet_single_thread() -> Iterator[None]:
    """Run the block with one thread for BLAS and numba: the layout amplifies last bits, which depend on threads.

    Silences umap-learn's warnings about choices made here on purpose: no search index, few points, disconnected graphs.
    """
    before = numba.get_num_threads()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numba.set_num_threads(1)
        try:
            yield
        finally:
            numba.set_num_threads(before)
