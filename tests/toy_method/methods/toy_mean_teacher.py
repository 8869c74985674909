"""A toy training method for tests: certainty on unlabelled images, and an averaged network that is reported.

It is written as a method of the package would be: this one file, its parameters, traits, loss and artefact.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tessera.training import METHODS, MethodTraits
from tessera.training.artefacts import Artefact, Planes, Tensors
from tessera.training.methods.supervised import Supervised
from tessera.training.phase import Feed, Iteration, Phase, Setup, Update
from tessera.training.samples import Needs

if TYPE_CHECKING:
    from torch import Tensor


class ToyMeanTeacher(Supervised):
    """Supervised training and its parameters, with a term on unlabelled images."""

    weight: float = Field(default=0.1, ge=0.0)
    """Of the entropy of unlabelled pixels."""
    keep: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Share of the averaged weights that stays in a step."""

    reinitialise: Literal["all", "none"] = "all"
    """Whether a round begins anew, or with the weights of the round before."""

    def needs(self) -> Needs:
        """All images of the pool without labels, beside the labelled samples."""
        return Needs(
            view=self.view, without_pixels=self.without_pixels, unlabelled="pool", previous=self.reinitialise == "none"
        )

    def leaves(self) -> frozenset[str]:
        """The mean prediction on unlabelled images, and the most likely class of each of their pixels."""
        return frozenset({"mean_prediction", "guesses"})


@METHODS.register("toy_mean_teacher", ToyMeanTeacher, MethodTraits())
def toy_mean_teacher(params: ToyMeanTeacher, setup: Setup) -> Iterator[Phase]:
    """One phase."""
    import torch

    from tessera.models.predictor import Predictor
    from tessera.training.data import ImageSet
    from tessera.training.inputs import Inputs
    from tessera.training.methods.supervised.phase import SupervisedPhase

    class Teaching(SupervisedPhase):
        """The supervised step and one update more, of the same optimiser; then the average moves."""

        def __init__(self) -> None:
            super().__init__(params, setup)
            if setup.previous is not None:
                self.model.load_state_dict({name: torch.from_numpy(one) for name, one in setup.previous.items()})
            self.pictures = [one.image for one in setup.data.unlabelled]
            images = ImageSet(self.pictures, setup.device, self.data.dtype)
            self.unlabelled = Inputs(self.model, images, self.precision, frozen=params.frozen)
            self.feeds = {"unlabelled": Feed(len(images), params.batch)}
            self.average = copy.deepcopy(self.model)
            self.modules = {"model": self.model, "average": self.average}
            self.serves = {"acquisition": "model", "reported": "average"}

        def step(self, at: Iteration) -> Iterator[Update]:
            yield from super().step(at)
            index = at.feeds["unlabelled"]
            flip = at.draws("flips of unlabelled")  # a stream of its own: no draw of the supervised step moves
            logits = self.unlabelled.logits(index, flip.random(len(index)) < 0.0)
            yield Update("model", {"entropy": params.weight * entropy(logits)}, seen={"images": float(len(index))})
            with torch.no_grad():
                for shadow, weight in zip(
                    self.average.state_dict().values(), self.model.state_dict().values(), strict=True
                ):
                    if shadow.is_floating_point():
                        shadow.lerp_(weight, 1.0 - params.keep)

        def artefacts(self) -> Mapping[str, Artefact]:
            predictor = Predictor(self.model, str(setup.device))
            logits = [torch.from_numpy(predictor.logits(picture.__array__())) for picture in self.pictures]
            mean = torch.stack([one.softmax(0).mean((1, 2)) for one in logits]).mean(0)
            names = [one.image_id for one in setup.data.unlabelled]
            guesses = [{"classes": one.argmax(0).byte().numpy()} for one in logits]
            return {
                "mean_prediction": Tensors({"mean": mean.numpy()}),
                "guesses": Planes(zip(names, guesses, strict=True)),
            }

    yield Teaching()


def entropy(logits: Tensor) -> Tensor:
    """Mean of −Σ p log p over pixels, nats; logits (N, C, h, w)."""
    p = logits.float().softmax(1)
    return -(p * logits.float().log_softmax(1)).sum(1).mean()
