"""Parameters of MulActSeg; the defaults are the paper's, or its code's where the paper is silent."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tessera.registry import Params
from tessera.training.methods.supervised.params import Supervised
from tessera.training.samples import Needs


class LossWeights(Params):
    """λ of Eq. 10; 0 leaves a loss out."""

    single: float = Field(default=16.0, ge=0.0)
    """Cross entropy on regions of one class (Eq. 6)."""
    several: float = Field(default=8.0, ge=0.0)
    """The loss ``several`` on regions of several classes (Eq. 7)."""
    prototypical: float = Field(default=1.0, ge=0.0)
    """Prototypical pixels of regions of several classes (Eq. 9)."""


class PseudoLabels(Params):
    """Stage 2: how partial labels become labels of pixels, and how the fresh network trains on them."""

    localisation: Literal["prototypes", "confident"] = "prototypes"
    """Class of a pixel among those of its region: that of the nearest prototype (Eq. 11), or the one of highest
    probability (the baseline without prototypes, Figure 12b)."""
    expansion: Literal["paper", "code", "none"] = "paper"
    """Pixels of unanswered neighbours. ``paper``: the nearest among the prototypes that are near enough (Eq. 13).
    ``code``: the nearest of all, where any of them is near enough. ``none``: none."""
    conflict: Literal["max", "last"] = "max"
    """Where several answered regions reach a pixel: the higher cosine, or the region of the higher number (the code;
    the paper is silent)."""
    temperature: float | None = Field(default=None, gt=0.0)
    """Of the softmax that picks prototypes (Eq. 8). Null: the classifier's own, as the paper says; the code takes 1."""
    renormalise: bool = True
    """Features of length 1 again after upsampling, so that Eq. 11 is a cosine; the code does so for VOC only."""
    epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Null: as many as stage 1."""
    lr: float | None = Field(default=None, gt=0.0, le=10.0)
    """Null: as stage 1. On Cityscapes the paper takes twice as much."""

    @model_validator(mode="after")
    def _prototypes_expand(self) -> Self:
        if self.localisation == "confident" and self.expansion != "none":
            raise ValueError(
                "expansion measures the distance to prototypes, which localisation confident does without: "
                "set expansion to none, or localisation to prototypes"
            )
        return self


class MulActSeg(Supervised):
    """Parameters of both stages. Optimiser, schedule, precision and flips are those of supervised training."""

    view: Literal["images"] = "images"
    """Networks see whole images; answers are about regions of them."""
    without_pixels: Literal["refuse"] = "refuse"
    """Answers need no pixels here: leave this as it is."""
    memory_bank: None = None
    """Not made by this method: leave this as it is."""
    several: Literal["merged", "infimum", "rc"] = "merged"
    """Loss of the pixels of regions of several classes: merged positive (the paper), or the baselines of Figure 12a,
    infimum and risk-consistent; those go without prototypical pixels (``weights.prototypical`` 0)."""
    weights: LossWeights = LossWeights()
    means: Literal["batch", "regions"] = "batch"
    """``batch``: over all pixels, and over all (region, class) pairs, of a batch, as in the code, for which the weights
    were tuned. ``regions``: over the pixels, and the classes, of each region and then over regions (Eq. 6, 7 and 9)."""
    whole: float = Field(default=1.0, ge=0.0, le=1.0)
    """Prototypical pixels are sought in regions of which a crop shows at least this share: a region that is cut may
    have lost a class that its answer names. 0: in all, as the code does."""
    pseudo: PseudoLabels | None = PseudoLabels()
    """Stage 2; null: the network of stage 1 is measured."""

    def needs(self) -> Needs:
        """Whole images with partial answers."""
        return Needs(view="regions", previous=self.reinit != "all")

    def phases(self) -> tuple[str, ...]:
        """``partial`` and, with stage 2, ``pseudo``."""
        return ("partial",) if self.pseudo is None else ("partial", "pseudo")

    def leaves(self) -> frozenset[str]:
        """``pseudo_labels``: planes ``classes`` and ``provenance`` of every image with an answer."""
        return frozenset() if self.pseudo is None else frozenset({"pseudo_labels"})

    def trains_undefined(self) -> bool:
        """Always: where in a region the undefined pixels lie, a set of classes does not say."""
        return True

    def second(self) -> dict[str, Any]:
        """Parameters of stage 2 that differ from those of stage 1."""
        if self.pseudo is None:
            return {}
        return {"epochs": self.pseudo.epochs or self.epochs, "lr": self.pseudo.lr or self.lr, "reinit": "all"}
