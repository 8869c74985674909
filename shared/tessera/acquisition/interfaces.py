"""Interfaces of the acquisition registries: scores, aggregations, features and projections."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

Axis = tuple[Int32, Int32, Float32]
"""Bilinear interpolation along one axis: lower index, upper index, weight of the upper one; (n,) each, n outputs."""


class Strip(NamedTuple):
    """A strip of n = rows·W pixels as pixel scores read it; z are the upsampled logits, m their maximum at a pixel.

    Only the arrays that some score of the plan names in ``Score.needs`` are filled; the others have no elements.
    """

    # needs "softmax": Σ_c e^(z_c − m), its logarithm, and Σ_c (z_c − m) e^(z_c − m), (n,) each.
    total: Float32
    log_total: Float32
    dot: Float32
    # needs "second": the second largest logit less the largest, ≤ 0, (n,).
    second: Float32
    # needs "predicted": arg max, the lowest class of equal ones, (n,).
    predicted: Int32
    # needs "exps": e^(z_c − m), (C, n).
    exps: Float32


class PixelScore(Protocol):
    """A score of single pixels, computed inside the fused pass."""

    def __call__(self, strip: Strip, out: Float32) -> None:
        """Write one value per pixel to ``out`` (n,), or per class and pixel to (C, n) where the score is per class.

        Called for strips of a few rows; must treat every pixel alone, so that the strip height cannot matter.
        """
        ...


class RegionScore(Protocol):
    """A score of whole regions that needs no pixels."""

    def __call__(self, seed: int, image_id: str, region_ids: npt.NDArray[np.integer[Any]]) -> Float32:
        """Return one value per region of one image, (R,) float32."""
        ...


class PassSet(NamedTuple):
    """Further forward passes over one image; hashable, so that columns which read the same passes share them."""

    # "flip": the mirrored image, its logits mirrored back. "mirror": the same, left mirrored. "dropout": ``times``
    # passes with the decoder's MC dropout on, each drawn from (seed, image, pass).
    kind: Literal["flip", "mirror", "dropout"]
    times: int = 1


@dataclass(frozen=True)
class PassScore:
    """A score of single pixels over several forward passes, computed inside the fused pass.

    Registered with the trait ``passes``: the parameters' `PassSet`. Between passes ``width`` float32 values per pixel
    are kept, whatever the number of passes.
    """

    passes: PassSet
    # Whether the plain pass counts as the first one; it then needs ``needs``, too.
    plain: bool
    needs: frozenset[str]
    # Number of classes → number of values kept per pixel, zero at first.
    width: Callable[[int], int]
    # Adds one pass to what is kept, (width, n).
    add: Callable[[Strip, Float32], None]
    # (kept (width, n), number of passes, out (n,))
    finish: Callable[[Float32, int, Float32], None]


@dataclass(frozen=True)
class Score:
    """One of ``pixel``, ``region``, ``over`` and ``network``; ``needs``: the arrays of a strip that ``pixel`` reads.

    A score registered with the trait ``per_class`` has C values per pixel.
    """

    pixel: PixelScore | None = None
    region: RegionScore | None = None
    needs: frozenset[str] = frozenset()
    # The score is the softmax itself: its sums over regions are made where the softmax is, without one plane per class.
    softmax: bool = False
    over: PassScore | None = None
    # Tensors of the auxiliary network, which the trait ``needs_auxiliary`` names → the score.
    network: Callable[[Mapping[str, npt.NDArray[Any]]], NetworkScore] | None = None


class NetworkScore(Protocol):
    """A score of whole regions by an auxiliary network."""

    def __call__(self, model: FeatureModel | None, image: RegionImage) -> Float32:
        """Return one value per region of one image, (n,) float32; ``model`` where the score needs a model."""
        ...


class Accumulate(Protocol):
    """Adds rows of pixel scores to the state of their regions."""

    def __call__(self, labels: Int32, values: Float32, predicted: Int32, state: Any) -> None:
        """``labels`` and ``values`` are (rows, W), ``predicted`` too where the state is per class.

        ``state`` is changed in place in row-major order, so that the strips cannot matter.
        """
        ...


@dataclass(frozen=True)
class Aggregation:
    """Reduction of a region's pixel scores to one number, or one per class where registered with trait ``per_class``.

    Columns that share a score, ``accumulate`` and ``start`` share one pass over the pixels (mean and sum do).
    """

    accumulate: Accumulate
    # State of an empty region: (R, len(start)) float64; "classes": zeros (R, C) float64, summed by predicted class;
    # "pixels": every value of the image, see region_sums_kernel.keep_values.
    start: tuple[float, ...] | Literal["classes", "pixels"]
    # (state, pixels (R,)) -> (R,) or, per class, (R, C)
    finish: Callable[[Any, npt.NDArray[np.int64]], Float64]


ScoreFactory = Callable[[Any], Score]
AggregationFactory = Callable[[Any], Aggregation]


class FeatureModel(Protocol):
    """The methods of a network that features call; ``models.predictor.Predictor`` has them."""

    def features(self, rgb: npt.NDArray[np.uint8]) -> Float32:
        """Return the backbone map (D, h, w) of one image (H, W, 3)."""
        ...

    def maps(self, rgb: Any) -> tuple[Any, Any]:
        """Return the low-level and backbone maps of a batch, torch tensors: (N, H, W, 3) uint8 → (N, D, h, w)."""
        ...

    def widened(self, high: Any) -> Any:
        """Return the backbone maps of a batch by ImageNet's last convolution: (N, 1280, h, w), a torch tensor."""
        ...

    def taps(self, rgb: npt.NDArray[np.uint8], names: Collection[str]) -> dict[str, Float32]:
        """Return maps (D, h, w) of one image (H, W, 3) by name: ``backbone``, ``widened`` or of
        `models.network.TAPS`."""
        ...


@dataclass(frozen=True)
class RegionImage:
    """One image and the regions of it to describe."""

    rgb: npt.NDArray[np.uint8]
    # (n,) ids and (n, 4) half-open boxes y0, x0, y1, x1 in pixels.
    region_ids: Int32
    boxes: Int32
    # (H, W) region map; None where the features do not need it.
    region_map: Int32 | None = None


FeatureFunction = Callable[[FeatureModel, RegionImage, Any], Float32]
"""(model, image, params) -> (n, D) float32, rows in the order of ``image.region_ids``."""

State = dict[str, npt.NDArray[Any]]


class Projection(Protocol):
    """A map from features to an embedding; its fitted state is plain arrays, never a pickle."""

    def fit(self, features: Float32, seed: int) -> tuple[State, Float32]:
        """Fit to features (n, D); return the state and their embedding (n, d) float32."""
        ...

    def transform(self, state: State, features: Float32, seed: int) -> Float32:
        """Return the embedding (m, d) float32 of new features (m, D)."""
        ...


ProjectionFactory = Callable[[Any], Projection]


@dataclass(frozen=True)
class Column:
    """One requested score: a score, its aggregation and their canonical JSON parameters.

    In the table it is the float32 column ``name``, or, where score or aggregation is per class, ``name_0`` …
    ``name_{C-1}``: ``region_scores.table_columns`` lists them.
    """

    name: str
    score: str
    aggregation: str
    score_parameters: str = "{}"
    aggregation_parameters: str = "{}"


Columns = Sequence[Column]
