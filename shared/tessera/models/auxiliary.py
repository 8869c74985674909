"""Parameters of the auxiliary networks: shared by the scores that read them and the trainings that make them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tessera.registry import Params


class DiscriminatorParams(Params):
    """Parameters of MAL's discriminator on the segmentation network's features; the paper gives no numbers."""

    tap: Literal["decoder", "aspp", "backbone"] = "decoder"
    """Which map it reads. MAL's D reads the input of the prototype classifier: here the decoder's features."""
    pool: int = Field(default=4, ge=1, le=64)
    """The normalised map is averaged over pool × pool cells. The decoder's stride 4 becomes 16, so that the maps of all
    images fit in memory."""
    epochs: int = Field(default=10, ge=1, le=1000)
    """An epoch is as many steps as the unlabelled regions (at most ``samples``) have batches."""
    batch: int = Field(default=16, ge=1, le=1024)
    """Labelled regions per step, and as many unlabelled ones."""
    lr: float = Field(default=1e-4, gt=0.0, le=1.0)
    samples: int = Field(default=2048, ge=1, le=1_000_000)
    """At most this many labelled and this many unlabelled regions are used; from more, the seed draws."""


class VaalParams(Params):
    """Parameters of VAAL's autoencoder and discriminator; the published code's, except where a note says otherwise."""

    size: Literal[32, 64, 128] = 64
    """Side in pixels to which a region's box is resized: what a CPU affords."""
    latent: int = Field(default=32, ge=1, le=1024)
    width: int = Field(default=32, ge=4, le=256)
    """Channels of the first convolution; each of the next three doubles them. The published code: 128, 16× the work."""
    epochs: int = Field(default=20, ge=1, le=1000)
    """An epoch is as many steps as the unlabelled regions (at most ``samples``) have batches."""
    batch: int = Field(default=32, ge=2, le=1024)
    """Labelled regions per step, and as many unlabelled ones."""
    lr: float = Field(default=5e-4, gt=0.0, le=1.0)
    beta: float = Field(default=1.0, ge=0.0)
    """Weight of the KL term."""
    adversary: float = Field(default=1.0, ge=0.0)
    """Weight of the adversarial term in the autoencoder's loss."""
    vae_steps: int = Field(default=2, ge=1, le=100)
    """Autoencoder steps for each step of the discriminator."""
    reduction: Literal["elbo", "code"] = "elbo"
    """How the two terms are reduced. elbo, the bound of the paper: squared error summed over each image, KL over its
    latents, both averaged over the batch. code, as in the published code: squared error averaged over all values, KL
    summed over the batch; KL then outweighs the error by far."""
    samples: int = Field(default=2048, ge=1, le=1_000_000)
    """At most this many labelled and this many unlabelled regions are used; from more, the seed draws."""

    @model_validator(mode="after")
    def _reads_more_than_it_keeps(self) -> VaalParams:
        if self.latent > 3 * self.size**2:
            raise ValueError(f"latent {self.latent} exceeds the {3 * self.size**2} values of the image; lower it")
        return self
