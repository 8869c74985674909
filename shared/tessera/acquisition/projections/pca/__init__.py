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
    """Scores on the leading eigenvectors of the covariance; each one's largest entry is made positive.

    The same bits on any number of threads; a point's embedding does not depend on the other points of a call.
    """

    def __init__(self, params: PcaParams) -> None:
        self._params = params

    def fit(self, features: Float32, seed: int) -> tuple[State, Float32]:
        """Return state and embedding (n, d) float32; BadInput when d exceeds D or n."""
        n, width = features.shape
        d = self._params.dimensions
        if d > min(n, width):
            raise BadInput(f"projection pca: {d} dimensions from {n} regions with {width} features; lower dimensions")
        from tessera.acquisition.projections.pca.principal_components import principal

        mean, components, deviation = principal(features, d)
        if self._params.whiten:
            components = components / np.where(deviation > 1e-12, deviation, 1.0)[:, None]
        state: State = {"mean": mean, "components": components}
        return state, self.transform(state, features, seed)

    def transform(self, state: State, features: Float32, seed: int) -> Float32:
        """Return the embedding (m, d) float32; BadInput for another number of features than at the fit."""
        if features.shape[1] != len(state["mean"]):
            raise BadInput(
                f"projection pca: features have {features.shape[1]} dimensions, the fit had {len(state['mean'])}; "
                "use the same model and features for both"
            )
        from tessera.acquisition.projections.pca.principal_components import scores

        return scores(features, state["mean"], state["components"])


@PROJECTIONS.register("pca", PcaParams)
def pca(params: PcaParams) -> Pca:
    """Return the linear projection on the directions of largest variance."""
    return Pca(params)
