"""No projection: the embedding is the features."""

from __future__ import annotations

import numpy as np

from tessera.acquisition import PROJECTIONS
from tessera.acquisition.interfaces import Float32, State
from tessera.errors import BadInput
from tessera.registry import Params


class Identity:
    """The identity; its state is the number of features."""

    def fit(self, features: Float32, seed: int) -> tuple[State, Float32]:
        """Return the state, and the features (n, D) unchanged."""
        return {"dimension": np.array([features.shape[1]], np.int64)}, features

    def transform(self, state: State, features: Float32, seed: int) -> Float32:
        """Return the features (m, D) unchanged; BadInput for another D than at the fit."""
        if features.shape[1] != int(state["dimension"][0]):
            raise BadInput(
                f"projection none: features have {features.shape[1]} dimensions, the fit had "
                f"{int(state['dimension'][0])}; use the same model and features for both"
            )
        return features


@PROJECTIONS.register("none", Params)
def none(params: Params) -> Identity:
    """Return the identity."""
    return Identity()
