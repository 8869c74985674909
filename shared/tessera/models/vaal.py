"""VAAL (Sinha et al. 2019): autoencoder of four convolutions of stride 2 down and four up, discriminator, losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.auxiliary import VaalParams
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
    """The part of VAAL that scores need: the encoder and the discriminator on its means."""

    def __init__(self, size: int, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = Encoder(size, width, latent)
        self.discriminator = VectorDiscriminator(latent)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, size, size) → (N,) logits of P(labelled)."""
        mean, _ = self.encoder(x)
        out: Tensor = self.discriminator(mean)
        return out


def elbo_terms(x: Tensor, rebuilt: Tensor, mean: Tensor, log_variance: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """Return the reconstruction and KL terms; the autoencoder minimises reconstruction + β KL.

    KL(N(μ, σ²) ‖ N(0, 1)) = −½ Σ (1 + log σ² − μ² − σ²). ``elbo``: squared error and KL summed over an image and
    averaged over the batch; ``code``: squared error averaged over all values, KL summed over all latents of the batch.
    """
    squared = (rebuilt - x) ** 2
    divergence = -0.5 * (1.0 + log_variance - mean**2 - log_variance.exp())
    if reduction == "code":
        return squared.mean(), divergence.sum()
    return squared.sum() / len(x), divergence.sum() / len(x)


def pixels(crops: Tensor) -> Tensor:
    """Map (N, size, size, 3) uint8 → (N, 3, size, size) float32 in 0..1."""
    return crops.permute(0, 3, 1, 2).to(torch.float32) / 255.0


def autoencoder_loss(
    params: VaalParams, encoder: nn.Module, decoder: nn.Module, critic: nn.Module, batch: list[Tensor]
) -> tuple[Tensor, tuple[float, float, float]]:
    """Return the loss of the autoencoder on (labelled, unlabelled), and its three terms summed over the two.

    z = μ + σ ε with ε drawn from torch's random state.
    """
    rebuilding, diverging, fooling = [], [], []
    for x in batch:
        mean, log_variance = encoder(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        reconstruction, divergence = elbo_terms(x, decoder(z), mean, log_variance, params.reduction)
        logits = critic(mean)
        rebuilding.append(reconstruction)
        diverging.append(divergence)
        fooling.append(F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)))
    terms = [torch.stack(parts).sum() for parts in (rebuilding, diverging, fooling)]
    loss = terms[0] + params.beta * terms[1] + params.adversary * terms[2]
    first, second, third = (float(term.detach()) for term in terms)
    return loss, (first, second, third)


def critic_loss(encoder: nn.Module, critic: nn.Module, batch: list[Tensor]) -> Tensor:
    """Return the binary cross-entropy of D on the means of (labelled, unlabelled); the encoder is not changed by it."""
    with torch.no_grad():
        means = [encoder(x)[0] for x in batch]
    logits = [critic(mean) for mean in means]
    labelled = F.binary_cross_entropy_with_logits(logits[0], torch.ones_like(logits[0]))
    return labelled + F.binary_cross_entropy_with_logits(logits[1], torch.zeros_like(logits[1]))
