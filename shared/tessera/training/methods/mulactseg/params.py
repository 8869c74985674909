"""Parameters of MulActSeg; the defaults are the paper's, or its code's where the paper is silent."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tessera.registry import Params
from tessera.training.methods.supervised.params import Supervised
from tessera.training.samples import Needs


class LossWeights(Params):
    """Weights λ of Eq. 10; 0 leaves a loss out."""

    single: float = Field(default=16.0, ge=0.0)
    """λ of the cross entropy on regions of one class (Eq. 6)."""
    several: float = Field(default=8.0, ge=0.0)
    """λ of the loss ``several`` on regions of several classes (Eq. 7)."""
    prototypical: float = Field(default=1.0, ge=0.0)
    """λ of the loss on prototypical pixels of regions of several classes (Eq. 9)."""


class PseudoLabels(Params):
    """Stage 2: how partial labels become labels of pixels, and how the fresh network trains on them."""

    localisation: Literal["prototypes", "confident"] = "prototypes"
    """Which class of its region a pixel gets: that of the nearest prototype (Eq. 11), or the most probable one (the
    baseline without prototypes, Figure 12b)."""
    expansion: Literal["paper", "code", "none"] = "paper"
    """Which class a pixel of an unanswered neighbour gets. ``paper``: that of the nearest among the prototypes that are
    near enough (Eq. 13). ``code``: that of the nearest of all, where any prototype is. ``none``: no class."""
    conflict: Literal["max", "last"] = "max"
    """Which answered region wins where several reach a pixel: the one of higher cosine, or of higher number (the code;
    the paper is silent)."""
    temperature: float | None = Field(default=None, gt=0.0)
    """Temperature of the softmax that picks prototypes (Eq. 8); null: the classifier's, as in the paper. The code:
    1."""
    renormalise: bool = True
    """Scale features to length 1 after upsampling, so that Eq. 11 is a cosine; the code does so for VOC only."""
    epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Epochs of stage 2; null: as many as stage 1."""
    lr: float | None = Field(default=None, gt=0.0, le=10.0)
    """Learning rate of stage 2; null: as in stage 1. On Cityscapes the paper takes twice as much."""

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
    """Has no effect here, because answers need no pixels; leave the default."""
    memory_bank: None = None
    """This method leaves no memory bank; leave the default."""
    several: Literal["merged", "infimum", "rc"] = "merged"
    """Loss on pixels of regions of several classes: merged positive (the paper), or the baselines of Figure 12a,
    infimum and risk-consistent, which use no prototypical pixels (``weights.prototypical`` 0)."""
    weights: LossWeights = LossWeights()
    means: Literal["batch", "regions"] = "batch"
    """Reduction of the losses. ``batch``: mean over all pixels, and all (region, class) pairs, of a batch, as in the
    code, for which the weights were tuned. ``regions``: mean per region over its pixels, or classes, then over regions
    (Eq. 6, 7, 9)."""
    whole: float = Field(default=1.0, ge=0.0, le=1.0)
    """Prototypical pixels are sought in regions of which a crop shows at least this share, because a cut region may
    have lost a class of its answer. 0: in all regions, as in the code."""
    pseudo: PseudoLabels | None = PseudoLabels()
    """Stage 2; null: the network of stage 1 is evaluated."""

    def needs(self) -> Needs:
        """Read whole images with partial answers."""
        return Needs(view="regions", previous=self.reinit != "all")

    def phases(self) -> tuple[str, ...]:
        """Name ``partial`` and, with stage 2, ``pseudo``."""
        return ("partial",) if self.pseudo is None else ("partial", "pseudo")

    def leaves(self) -> frozenset[str]:
        """Name ``pseudo_labels``: planes ``classes`` and ``provenance`` of every image with an answer."""
        return frozenset() if self.pseudo is None else frozenset({"pseudo_labels"})

    def trains_undefined(self) -> bool:
        """True: a set of classes does not say which pixels of the region are undefined."""
        return True

    def second(self) -> dict[str, Any]:
        """Return the parameters of stage 2."""
        if self.pseudo is None:
            return {}
        return {"epochs": self.pseudo.epochs or self.epochs, "lr": self.pseudo.lr or self.lr, "reinit": "all"}
