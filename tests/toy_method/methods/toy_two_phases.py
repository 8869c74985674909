"""A toy training method of two phases: the first acquires; the second learns its predictions and is reported."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tessera.training import METHODS
from tessera.training.methods.supervised import Supervised
from tessera.training.phase import Phase, Setup
from tessera.training.samples import Needs, Sample


class ToyTwoPhases(Supervised):
    """Supervised parameters for both phases."""

    undefined: bool = False
    """Whether the networks have an output for undefined pixels."""

    def trains_undefined(self) -> bool:
        """As the parameter says."""
        return self.undefined

    def needs(self) -> Needs:
        """All images of the pool without labels, beside the labelled samples."""
        return Needs(view="images", unlabelled="pool")

    def phases(self) -> tuple[str, ...]:
        """Labels first, then predictions."""
        return ("labels", "predictions")


@METHODS.register("toy_two_phases", ToyTwoPhases)
def toy_two_phases(params: ToyTwoPhases, setup: Setup) -> Iterator[Phase]:
    """Two supervised phases; the second has a fresh network and the first one's predictions as labels."""
    from tessera.models.predictor import Predictor
    from tessera.models.upsample import predict
    from tessera.training.methods.supervised.phase import SupervisedPhase

    first = SupervisedPhase(params, setup)
    first.serves = {"acquisition": "model"}
    yield first
    predictor = Predictor(first.model, str(setup.device))
    pictures = [np.asarray(one.image) for one in setup.data.unlabelled]
    guesses = [Sample(rgb, predict(predictor.logits(rgb), (rgb.shape[0], rgb.shape[1]))) for rgb in pictures]
    second = SupervisedPhase(params, setup, guesses)
    second.serves = {"reported": "model"}
    yield second
