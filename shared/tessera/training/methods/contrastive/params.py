"""Parameters of contrastive training with a memory bank."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from tessera.training.memory_bank import MemoryBankParams
from tessera.training.methods.supervised.params import Supervised
from tessera.training.samples import Needs


class Contrastive(Supervised):
    """Supervised training and its parameters, with a contrastive loss; defaults of the paper's §4.2 where it has some.

    Ablations: ``weight: 0`` trains without contrast (then the bank may hold another map), ``teacher: null`` without a
    mean teacher.
    """

    decode: Literal["whole"] = Field(default="whole", exclude_if=lambda value: value == "whole")
    """The method reads predictions of whole images; leave the default."""
    view: Literal["crops", "images"] = "images"
    memory_bank: MemoryBankParams = MemoryBankParams()
    """Filled during training, from every batch; positives and negatives come from it."""
    weight: float = Field(default=0.1, ge=0.0, le=100.0)
    """λ, weight of the contrastive loss; 0: the bank is filled, and no loss reads it."""
    temperature: float = Field(default=0.1, gt=0.0, le=10.0)
    """τ, the temperature of the contrastive loss."""
    anchors: int = Field(default=50, ge=2, le=10_000)
    """Most anchors of one class in a batch: half of them misclassified where there are so many, the others random."""
    positives: Literal["class_mean", "sample512"] = "class_mean"
    """``class_mean``: the mean of the class's queue (§3.2). ``sample512``: 512 vectors of it (§4.2)."""
    negatives: int = Field(default=1024, ge=2, le=100_000)
    """K_n, negatives per anchor: half from the nearest vectors in the bank, half from all."""
    nearest: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of the vectors of other classes that counts as nearest. The paper's text is circular here; this is how Wang
    et al. 2021 (ContrastiveSeg), whom it follows, do it."""
    teacher: float | None = Field(default=0.99, ge=0.0, lt=1.0)
    """α, the share that the teacher keeps of its weights in each iteration (the paper gives no value). The teacher's
    vectors fill the bank and describe regions. null: no teacher; the trained network describes regions, and its vectors
    in training fill the bank."""

    @model_validator(mode="after")
    def _contrasts_projections(self) -> Self:
        if self.weight and self.memory_bank.tap != "projection":
            raise ValueError(
                f"memory_bank.tap {self.memory_bank.tap}: the contrastive loss compares vectors of the projection "
                "head; set it to projection, or weight to 0"
            )
        return self

    @model_validator(mode="after")
    def _compiles_something(self) -> Self:
        if self.compile and self.frozen:
            raise ValueError(
                "compile: this method reads maps inside the decoder, so that only a backbone's calls can be compiled, "
                "and a frozen one is not called in a step: set frozen or compile to false"
            )
        return self

    @model_validator(mode="after")
    def _reads_unchanged_images(self) -> Self:
        if not self.augment.only_flips:
            raise ValueError(
                "augment: the bank is filled from unchanged images, and this method only mirrors them: leave scale, "
                "crop and colour out"
            )
        return self

    def needs(self) -> Needs:
        """Read answers with pixels, under the chosen view; the bank is filled from the same samples."""
        return replace(super().needs(), whole=False)

    def trains_on_bank(self) -> bool:
        """True: positives and negatives come from it."""
        return self.weight > 0

    def trains_projection(self) -> bool:
        """True where the contrastive loss has weight."""
        return self.weight > 0
