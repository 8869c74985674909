"""Principal components."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tessera.acquisition import PROJECTIONS
from tessera.acquisition.interfaces import Float32, State
from tessera.errors import BadInput
from tessera.registry import Params


class PcaParams(Params):
    """``whiten`` scales every component to unit variance."""

    dimensions: int = Field(default=2, ge=1)
    whiten: bool = False


class Pca:
    """Scores on the leading eigenvectors of the covariance; each one's largest entry is made positive."""

    def __init__(self, params: PcaParams) -> None:
        self._params = params

    def fit(self, features: Float32, seed: int) -> tuple[State, Float32]:
        """State and embedding (n, d) float32; BadInput when d exceeds D or n."""
        n, width = features.shape
        d = self._params.dimensions
        if d > min(n, width):
            raise BadInput(f"projection pca: {d} dimensions from {n} regions with {width} features; lower dimensions")
        x = features.astype(np.float64)
        mean = x.mean(axis=0)
        centred = x - mean
        values, vectors = np.linalg.eigh(centred.T @ centred)
        components = vectors[:, ::-1][:, :d].T
        largest = np.abs(components).argmax(axis=1)
        components = components * np.where(components[np.arange(d), largest] < 0, -1.0, 1.0)[:, None]
        scale = np.ones(d)
        if self._params.whiten:
            deviation = np.sqrt(np.maximum(values[::-1][:d], 0.0) / n)
            scale = np.where(deviation > 1e-12, deviation, 1.0)
        state: State = {"mean": mean, "components": components / scale[:, None]}
        return state, self.transform(state, features, seed)

    def transform(self, state: State, features: Float32, seed: int) -> Float32:
        """Embedding (m, d) float32; BadInput for another number of features than at the fit."""
        if features.shape[1] != len(state["mean"]):
            raise BadInput(
                f"projection pca: features have {features.shape[1]} dimensions, the fit had {len(state['mean'])}; "
                "use the same model and features for both"
            )
        return np.asarray((features.astype(np.float64) - state["mean"]) @ state["components"].T, np.float32)


@PROJECTIONS.register("pca", PcaParams)
def pca(params: PcaParams) -> Pca:
    """Linear projection on the directions of largest variance."""
    return Pca(params)
