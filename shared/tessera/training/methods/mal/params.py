"""Parameters of minimax active learning; the paper gives no numbers, so the defaults are those of related work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator

from tessera.registry import Params
from tessera.training.methods.supervised.params import Supervised
from tessera.training.samples import Needs


class MinimaxDiscriminator(Params):
    """D, which the score ``labeledness`` reads: 3 convolutions and a small fully connected layer, Adam (the paper)."""

    pool: int = Field(default=4, ge=1, le=64)
    """Features of length 1 are averaged over pool × pool cells; the score's ``pool`` must be equal (its default is 4).
    1: every cell, as in the paper's formula, at pool² times the work."""
    lr: float = Field(default=1e-4, gt=0.0, le=1.0)
    """α₃ of Algorithm 1, of which the paper gives no value."""


class TaskNetwork(Params):
    """The network that is evaluated (Algorithm 3): cross entropy on all labelled pixels."""

    start: Literal["encoder", "backbone", "pretrained"] = "encoder"
    """Its initial weights. ``encoder``: the trained F, everything below the classifier. ``backbone``: F's backbone,
    under a fresh head; for DRN this is the same. ``pretrained``: those with which F began; semi-supervised training
    then serves the selection alone."""
    classifier: Literal["prototypes", "linear"] = Field(
        default="prototypes", exclude_if=lambda value: value == "prototypes"
    )
    """Its last layer. ``prototypes``: as C, since Algorithm 3 refers to Equation 1. ``linear``: one fully connected
    layer without temperature and first layer, as the paper counts T's parameters (§5.1)."""
    epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Null: as many as the minimax phase."""
    lr: float | None = Field(default=None, gt=0.0, le=10.0)
    """α₄ of Algorithm 3. Null: as in the minimax phase."""


class Mal(Supervised):
    """Parameters of both phases. Optimiser (of F and C), schedule, precision and flips are as in supervised training.

    The ablations of Tables 7 and 8: SL is ``entropy_weight: 0``; Unc needs no discriminator (``discriminator: null``);
    Unc, Div and Random differ in the stages of the selection.
    """

    decode: Literal["whole"] = Field(default="whole", exclude_if=lambda value: value == "whole")
    """The method reads predictions of whole images; leave the default."""
    view: Literal["images"] = "images"
    """F, C and D see whole images."""
    entropy_weight: float = Field(default=0.1, ge=0.0)
    """λ of the entropy that F minimises and C maximises; minimax entropy (Saito et al. 2019): 0.1. 0: SL."""
    unlabelled_batch: int | None = Field(default=None, ge=1, le=1024)
    """Unlabelled images per step, at least 2 as for ``batch``; null: as many as labelled ones."""
    discriminator: MinimaxDiscriminator | None = MinimaxDiscriminator()
    """D; null: no discriminator is trained."""
    task: TaskNetwork = TaskNetwork()
    """The network that is evaluated."""

    @field_validator("unlabelled_batch")
    @classmethod
    def _enough_for_batch_norm(cls, value: int | None) -> int | None:
        if value == 1:
            raise ValueError(
                "batch norm takes statistics over the images of a step, of which one has a single value where a map is "
                "1×1 or averaged: set 2 or more, or null for as many as labelled ones"
            )
        return value

    def needs(self) -> Needs:
        """Read whole labelled images and the images without any answer."""
        used = self.entropy_weight > 0 or self.discriminator is not None
        return replace(super().needs(), unlabelled="unasked" if used else "none")

    def shared_rows(self) -> int:
        """Count the labelled images of a step, or the unlabelled ones where they are fewer."""
        return min(self.batch, self.unlabelled_batch or self.batch)

    def phases(self) -> tuple[str, ...]:
        """Name two phases: ``minimax`` trains F, C and D, which acquire; ``task`` trains the evaluated network."""
        return ("minimax", "task")

    def leaves(self) -> frozenset[str]:
        """Name the discriminator and the memory bank, where there is one."""
        return super().leaves() | ({"discriminator"} if self.discriminator else set())

    def auxiliaries(self) -> dict[str, dict[str, Any]]:
        """Name the discriminator, on the classifier's input."""
        return {"discriminator": {"tap": "decoder", "pool": self.discriminator.pool}} if self.discriminator else {}

    def needs_prototypes(self) -> bool:
        """True: C is a cosine classifier, also in the ablations."""
        return True

    def measured_by(self) -> dict[str, Any]:
        """Return no temperature where the task network is linear."""
        return {"temperature": None} if self.task.classifier == "linear" else {}

    def of_task(self) -> Mal:
        """Return the parameters with which the task network trains."""
        changed = {"epochs": self.task.epochs or self.epochs, "lr": self.task.lr or self.lr, "reinit": "all"}
        return self.model_copy(update=changed)
