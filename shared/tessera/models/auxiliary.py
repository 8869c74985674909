"""Parameters of the auxiliary networks: shared by the scores that read them and the trainings that make them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tessera.registry import Params


class DiscriminatorParams(Params):
    """MAL's discriminator on the segmentation network's features; the paper gives no number, so these are choices."""

    tap: Literal["decoder", "aspp", "backbone"] = "decoder"
    """Which map it reads. MAL's D reads what the prototype classifier reads: here the decoder's features."""
    pool: int = Field(default=4, ge=1, le=64)
    """The normalised map is averaged over pool × pool cells: stride 16 from the decoder's 4, so that a pool of images
    fits in memory."""
    epochs: int = Field(default=10, ge=1, le=1000)
    """An epoch is as many steps as the unlabelled regions (at most ``samples``) have batches."""
    batch: int = Field(default=16, ge=1, le=1024)
    """Labelled regions a step, and as many unlabelled ones."""
    lr: float = Field(default=1e-4, gt=0.0, le=1.0)
    samples: int = Field(default=2048, ge=1, le=1_000_000)
    """Most labelled and most unlabelled regions that are looked at; more are drawn from by the seed."""


class VaalParams(Params):
    """VAAL's autoencoder and discriminator; defaults are the published code's except where a note says otherwise."""

    size: Literal[32, 64, 128] = 64
    """Side in pixels to which a region's box is resized: what a CPU affords."""
    latent: int = Field(default=32, ge=1, le=1024)
    width: int = Field(default=32, ge=4, le=256)
    """Channels of the first convolution; each of the next three doubles them. The published code: 128, 16× the work."""
    epochs: int = Field(default=20, ge=1, le=1000)
    """An epoch is as many steps as the unlabelled regions (at most ``samples``) have batches."""
    batch: int = Field(default=32, ge=2, le=1024)
    """Labelled regions a step, and as many unlabelled ones."""
    lr: float = Field(default=5e-4, gt=0.0, le=1.0)
    beta: float = Field(default=1.0, ge=0.0)
    """Weight of the KL term."""
    adversary: float = Field(default=1.0, ge=0.0)
    """Weight of the adversarial term in the autoencoder's loss."""
    vae_steps: int = Field(default=2, ge=1, le=100)
    """Autoencoder steps for each step of the discriminator."""
    reduction: Literal["elbo", "code"] = "elbo"
    """How the two terms are summed. elbo: squared error summed over an image, KL over its latents, both averaged over
    the batch, which is the bound of the paper. code: squared error averaged over everything, KL summed over the batch
    too, as published, where KL outweighs the error by far."""
    samples: int = Field(default=2048, ge=1, le=1_000_000)
    """Most labelled and most unlabelled regions that are looked at; more are drawn from by the seed."""

    @model_validator(mode="after")
    def _reads_more_than_it_keeps(self) -> VaalParams:
        if self.latent > 3 * self.size**2:
            raise ValueError(f"latent {self.latent} exceeds the {3 * self.size**2} values of the image; lower it")
        return self
