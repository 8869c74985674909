"""VAAL's variational autoencoder (Sinha et al. 2019): four convolutions of stride 2 down, four up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessera.models.discriminators import VectorDiscriminator


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Encoder(nn.Module):
    """(N, 3, size, size) in 0..1 → mean and log variance (N, latent) of q(z | x)."""

    def __init__(self, size: int, width: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _down(3, width), _down(width, 2 * width), _down(2 * width, 4 * width), _down(4 * width, 8 * width)
        )
        self.mean = nn.Linear(8 * width * (size // 16) ** 2, latent)
        self.log_variance = nn.Linear(8 * width * (size // 16) ** 2, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        flat = self.layers(x).flatten(1)
        return self.mean(flat), self.log_variance(flat)


class Decoder(nn.Module):
    """(N, latent) → (N, 3, size, size)."""

    def __init__(self, size: int, width: int, latent: int) -> None:
        super().__init__()
        self._start = (8 * width, size // 16, size // 16)
        self.spread = nn.Linear(latent, 8 * width * (size // 16) ** 2)
        self.layers = nn.Sequential(
            _up(8 * width, 4 * width),
            _up(4 * width, 2 * width),
            _up(2 * width, width),
            nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.layers(self.spread(z).view(-1, *self._start))
        return out


class LatentCritic(nn.Module):
    """What scoring needs of VAAL: the encoder and the discriminator on its means."""

    def __init__(self, size: int, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = Encoder(size, width, latent)
        self.discriminator = VectorDiscriminator(latent)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, size, size) → (N,) logits of P(labelled)."""
        mean, _ = self.encoder(x)
        out: Tensor = self.discriminator(mean)
        return out


def elbo_terms(x: Tensor, rebuilt: Tensor, mean: Tensor, log_variance: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL term, whose sum (KL times β) the autoencoder lowers.

    KL(N(μ, σ²) ‖ N(0, 1)) = −½ Σ (1 + log σ² − μ² − σ²). ``elbo``: squared error and KL summed over an image and
    averaged over the batch; ``code``: squared error averaged over all values, KL summed over all latents of the batch.
    """
    squared = (rebuilt - x) ** 2
    divergence = -0.5 * (1.0 + log_variance - mean**2 - log_variance.exp())
    if reduction == "code":
        return squared.mean(), divergence.sum()
    return squared.sum() / len(x), divergence.sum() / len(x)


def pixels(crops: Tensor) -> Tensor:
    """(N, size, size, 3) uint8 → (N, 3, size, size) float32 in 0..1."""
    return crops.permute(0, 3, 1, 2).to(torch.float32) / 255.0
