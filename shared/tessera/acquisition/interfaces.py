"""The shapes that the acquisition registries hold: what one score, aggregation, feature or projection must provide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


class PixelScore(Protocol):
    """A score of single pixels, computed inside the fused pass."""

    def __call__(self, shifted: Float32, exps: Float32, total: Float32, log_total: Float32, out: Float32) -> None:
        """Write one value a pixel to ``out`` (n,).

        ``shifted`` (C, n) are the logits minus the pixel's maximum, ``exps`` (C, n) their exponentials, ``total`` (n,)
        the sum of ``exps`` over classes and ``log_total`` its logarithm: p = exps / total, log p = shifted - log_total.
        Called for strips of a few rows; must treat every pixel alone, so that the strip height cannot matter.
        """
        ...


class RegionScore(Protocol):
    """A score of whole regions that needs no pixels."""

    def __call__(self, seed: int, image_id: str, region_ids: npt.NDArray[np.integer[Any]]) -> Float32:
        """One value a region of one image, (R,) float32."""
        ...


@dataclass(frozen=True)
class Score:
    """Exactly one of ``pixel`` and ``region``."""

    pixel: PixelScore | None = None
    region: RegionScore | None = None


class Accumulate(Protocol):
    """Adds rows of pixel scores to the state of their regions."""

    def __call__(self, labels: Int32, values: Float32, state: Float64) -> None:
        """``labels`` and ``values`` are (rows, W); ``state`` is (R, width), changed in place in row-major order."""
        ...


@dataclass(frozen=True)
class Aggregation:
    """How the pixel scores of a region become one number.

    Columns that share a score and ``accumulate`` share one pass over the pixels (mean and sum do).
    """

    accumulate: Accumulate
    # State of an empty region, one float64 per entry.
    start: tuple[float, ...]
    # (state (R, width), pixels (R,)) -> (R,)
    finish: Callable[[Float64, npt.NDArray[np.int64]], Float64]


ScoreFactory = Callable[[Any], Score]
AggregationFactory = Callable[[Any], Aggregation]


class FeatureModel(Protocol):
    """What features need of a network; ``models.predictor.Predictor`` is one."""

    def features(self, rgb: npt.NDArray[np.uint8]) -> Float32:
        """Backbone map (D, h, w) of one image (H, W, 3)."""
        ...

    def maps(self, rgb: Any) -> tuple[Any, Any]:
        """Low-level and backbone maps of a batch, torch tensors: (N, H, W, 3) uint8 → (N, D, h, w)."""
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
        """State and embedding (n, d) float32 of the features (n, D) it was fitted on."""
        ...

    def transform(self, state: State, features: Float32, seed: int) -> Float32:
        """Embedding (m, d) float32 of new features (m, D)."""
        ...


ProjectionFactory = Callable[[Any], Projection]


@dataclass(frozen=True)
class Column:
    """One column of a score table: a score, its aggregation and their canonical JSON parameters."""

    name: str
    score: str
    aggregation: str
    score_parameters: str = "{}"
    aggregation_parameters: str = "{}"


Columns = Sequence[Column]
