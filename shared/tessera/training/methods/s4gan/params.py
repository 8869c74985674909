"""Parameters of s4GAN; the defaults are those of its code for Pascal VOC."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from tessera.training.methods.supervised.params import Supervised
from tessera.training.params import Schedule
from tessera.training.samples import Needs


class S4GAN(Supervised):
    """Parameters; network, optimiser, schedule, changes of samples and precision are those of supervised training."""

    frozen: bool = False
    backbone_norm: Literal["eval", "train"] = "train"
    epochs: int = Field(default=100, ge=1, le=10_000)
    optimiser: Literal["adam", "adamw", "sgd"] = "sgd"
    lr: float = Field(default=2.5e-4, gt=0.0, le=10.0)
    head_factor: float = Field(default=10.0, gt=0.0, le=1000.0)
    weight_decay: float = Field(default=5e-4, ge=0.0)
    schedule: Schedule = Schedule(name="poly")
    """Schedule of the network and of the discriminator, each from its own learning rate."""
    decode: Literal["whole"] = Field(default="whole", exclude_if=lambda value: value == "whole")
    """The method reads predictions of whole images; leave the default."""
    view: Literal["images"] = "images"
    """The discriminator judges segmentations of whole images."""
    unlabelled: Literal["pool", "unasked"] = "pool"
    """Images that are segmented without labels: all of the pool, or those without any answer, as in the published code.
    With queries about regions, every image soon has an answer, and ``unasked`` leaves none."""
    feature_matching: float = Field(default=0.1, ge=0.0)
    """λ_fm, weight of feature matching; 0 leaves the loss out."""
    self_training: float = Field(default=1.0, ge=0.0)
    """λ_st, weight of self-training; 0 leaves the loss out. With both at 0 the training is supervised."""
    threshold: float = Field(default=0.6, ge=0.0, le=1.0)
    """γ: an image teaches the network if D gives its segmentation more than this probability of being labelled."""
    warm_up: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of all steps before self-training begins, because an untrained D accepts everything or nothing. The
    published code skips the first step only."""
    most_accepted: float = Field(default=0.9, gt=0.0, le=1.0)
    """Self-training pauses while the running share of accepted images is above this: D is fooled then, and the network
    would confirm its own mistakes. 1: it never pauses."""
    discriminator: bool = True
    """Whether there is a discriminator. False: no feature matching, and every unlabelled image counts as accepted."""
    discriminator_lr: float = Field(default=1e-4, gt=0.0, le=10.0)
    """Learning rate of D's Adam, β = (0.9, 0.99); the Best-Practices study takes 2.5e-5 for driving scenes."""
    real_coverage: float = Field(default=0.5, ge=0.0, le=1.0)
    """D sees the labels of images with at least this share of labelled pixels; it would tell others by their holes."""

    def semi_supervised(self) -> bool:
        """Return whether any loss needs unlabelled images."""
        return self.self_training > 0 or self.feature_matching * self.discriminator > 0

    def needs(self) -> Needs:
        """Read labelled images and, where a loss needs them, unlabelled ones."""
        return replace(super().needs(), unlabelled=self.unlabelled if self.semi_supervised() else "none")

    def leaves(self) -> frozenset[str]:
        """Name ``discriminator``: the weights of D."""
        trained = self.discriminator and self.semi_supervised()
        return super().leaves() | (frozenset({"discriminator"}) if trained else frozenset())
