"""Parameters of supervised training, which other methods extend."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tessera.training.augment import Augment
from tessera.training.memory_bank import MemoryBankParams
from tessera.training.params import Schedule, TrainingParams
from tessera.training.samples import Needs


class Supervised(TrainingParams):
    """Parameters; the defaults are MEAL's optimisation of one round (section 4.2), with a frozen backbone."""

    frozen: bool = True
    """Train the head only. The backbone then runs in eval mode and its maps are computed once."""
    backbone_norm: Literal["eval", "train"] = "eval"
    """Batch norm of a backbone that is fine-tuned: running statistics as given, or the batch's."""
    head_norm_momentum: float = Field(default=0.1, gt=0.0, le=1.0)
    """Weight of the newest batch in the head's running statistics, which prediction uses."""
    epochs: int = Field(default=25, ge=1, le=10_000)
    final_epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Epochs of the last round; the planner puts them into ``epochs`` there. None: the same as every round."""
    batch: int = Field(default=8, ge=2, le=1024)
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=1e-3, gt=0.0, le=10.0)
    head_factor: float = Field(default=1.0, gt=0.0, le=1000.0, exclude_if=lambda value: value == 1.0)
    """Learning rate of the head as a multiple of ``lr``, the backbone's (10 in the code of s4GAN, DEAL, MulActSeg)."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Momentum of sgd; adam's betas are 0.9 and 0.999."""
    schedule: Schedule = Schedule()
    reinit: Literal["all", "backbone", "decoder", "none"] = Field(
        default="all", exclude_if=lambda value: value == "all"
    )
    """The parts that start anew in every round: the backbone from its pretrained weights and the decoder (all but the
    backbone) from the seed, one of them, or nothing; the rest goes on from the network that chose the round's
    questions. The Best-Practices code: ``backbone`` for supervised strategies, ``all`` with s4GAN."""
    view: Literal["windows", "crops", "images"] = "crops"
    """How answers become samples. ``crops``: each answered region cut out of its image. ``images``: whole images, 255
    where nothing is labelled. ``windows``: the backbone sees the whole image and the head the part of its maps around
    the region, so that training and prediction see the same features; needs a frozen backbone. After ``crops`` and
    ``windows`` the head leaves out what such small maps cannot teach it (``Head.trained_on``)."""
    without_pixels: Literal["refuse", "skip"] = "refuse"
    """How to treat an answer without pixels (several classes in a region), from which this method cannot learn."""
    without_labels: Literal["keep", "leave_out"] = Field(default="keep", exclude_if=lambda value: value == "keep")
    """Whether samples whose every pixel is 255 are kept, so that batch norm sees them, or left out."""
    decode: Literal["whole", "labelled"] = Field(default="whole", exclude_if=lambda value: value == "whole")
    """Where training computes the decoder. ``labelled``: at the cells (stride 4) on which the logits of labelled pixels
    depend, a small part while few are labelled. The loss is the same but for batch norm, which then takes the
    statistics of these cells, and for dropout, which draws fewer numbers. ``whole``: everywhere."""
    augment: Augment = Augment()
    """Scale, crop and colours need the whole image in every step: a backbone that is fine-tuned; scale and crop also
    need view ``images``."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Dtype of convolutions. Weights, statistics, loss and, to predict, the classifier are always float32."""
    compile: bool = Field(default=False, exclude_if=lambda value: value is False)
    """Let ``torch.compile`` compile the calls of backbone and decoder: faster on CUDA after minutes of compiling, no
    gain seen on a CPU. Results differ by rounding, so that the job has another key. Trains in one process."""
    cache_features: bool = True
    """Keep a frozen backbone's maps (float16, at most 2 GiB) in memory instead of computing them each epoch."""
    memory_bank: MemoryBankParams | None = None
    """Leave a memory bank of the kept model's hardest correct pixels, for ``selection.embedding.fit_on: bank``."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.frozen and self.backbone_norm == "train":
            raise ValueError("a frozen backbone keeps its statistics: set backbone_norm to eval or frozen to false")
        if self.view == "windows" and not self.frozen:
            raise ValueError("view windows needs a frozen backbone: set view to crops or images, or frozen to true")
        if self.frozen and not self.augment.only_flips:
            raise ValueError(
                "a frozen backbone's maps are those of unchanged images: leave scale, crop and colour out of augment, "
                "or set frozen to false"
            )
        if self.decode == "labelled" and self.view != "images":
            raise ValueError(f"decode labelled needs view images (now {self.view}): set it, or decode to whole")
        if self.compile and self.decode == "labelled":
            raise ValueError("compile compiles whole decoders: set decode to whole, or compile to false")
        if self.augment.moves and self.view != "images":
            raise ValueError(f"augment.scale and augment.crop need whole images: set view to images (now {self.view})")
        return self

    def needs(self) -> Needs:
        """Read answers with pixels, under the chosen view; whole images too where they fill a bank; the weights of the
        round before where ``reinit`` keeps some."""
        return Needs(self.view, self.without_pixels, whole=self.memory_bank is not None, previous=self.reinit != "all")

    def in_round(self, last: bool) -> dict[str, Any]:
        """Take ``final_epochs`` in the last round."""
        return {"epochs": (self.final_epochs if last else None) or self.epochs, "final_epochs": None}

    def leaves(self) -> frozenset[str]:
        """Name the memory bank, where there is one."""
        return frozenset({"memory_bank"} if self.memory_bank else ())

    def bank_tap(self) -> str | None:
        """Name the map whose pixels the bank holds."""
        return self.memory_bank.tap if self.memory_bank else None

    def decodes_cells(self) -> bool:
        """Return whether ``decode`` is ``labelled``."""
        return self.decode == "labelled"

    def compiles(self) -> bool:
        """Return ``compile``."""
        return self.compile

    def freezes_backbone(self) -> bool:
        """Return ``freeze_backbone``."""
        return self.frozen
