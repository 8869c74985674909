"""VAAL (Sinha et al. 2019): two autoencoder steps, one discriminator step, over and over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.errors import BadInput
from tessera.models.auxiliary import VaalParams
from tessera.models.network import seeded
from tessera.models.resize import resized
from tessera.models.vae import Decoder, LatentCritic, elbo_terms, pixels
from tessera.training import Progress
from tessera.training.auxiliary import AuxiliaryEpoch, Regions, TrainedAuxiliary, drawn, steps_per_epoch
from tessera.training.streams import Shuffled


def run(
    params: VaalParams, regions: Regions, images: Sequence[Any], seed: int, progress: Progress, device: str
) -> TrainedAuxiliary:
    """Train q(z | x), p(x | z) and D; returns encoder and D, which is what the score reads.

    Autoencoder: Σ over labelled and unlabelled batch of reconstruction + β KL, plus λ times the loss of D
    taking both for labelled. D: −E_L[log D(μ)] − E_U[log(1 − D(μ))]. D reads the mean of q, as in the
    published code; the code's later versions have the autoencoder help D instead of fooling it, which the paper's
    formula does not.
    """
    rng = np.random.default_rng(seed)
    regions = drawn(regions, params.samples, rng)
    crops = torch.from_numpy(_crops(params.size, regions, images, progress))
    with seeded(seed):
        network = LatentCritic(params.size, params.width, params.latent).to(device)
        decoder = Decoder(params.size, params.width, params.latent).to(device)
        encoder, critic = network.encoder, network.discriminator
        both = [*encoder.parameters(), *decoder.parameters()]
        optimisers = torch.optim.Adam(both, params.lr), torch.optim.Adam(critic.parameters(), params.lr)
        feeds = [Shuffled(np.flatnonzero(regions.labelled == kind), rng) for kind in (True, False)]
        history = []
        for epoch in range(1, params.epochs + 1):
            sums = np.zeros(4)
            steps = steps_per_epoch(regions, params.batch)
            for _ in range(steps):
                for _ in range(params.vae_steps):
                    batch = [pixels(crops[feed.take(params.batch)]).to(device) for feed in feeds]
                    loss, terms = autoencoder_loss(params, encoder, decoder, critic, batch)
                    _step(optimisers[0], loss)
                    sums[1:] += np.array(terms) / params.vae_steps
                # The last autoencoder batch, as published.
                loss = critic_loss(encoder, critic, batch)
                _step(optimisers[1], loss)
                sums[0] += float(loss.detach())
            means = sums / steps
            if not np.isfinite(means).all():
                raise BadInput(
                    f"auxiliary vaal: the loss became {means.sum()} in epoch {epoch}; lower lr {params.lr:g}"
                )
            history.append(AuxiliaryEpoch(epoch, *(float(mean) for mean in means)))
            progress(0.1 + 0.9 * epoch / params.epochs, f"vaal {epoch}/{params.epochs}, loss {means[0]:.3f}")
    state = {key: value.detach().cpu().numpy().copy() for key, value in network.state_dict().items()}
    return TrainedAuxiliary(state, tuple(history))


def autoencoder_loss(
    params: VaalParams, encoder: torch.nn.Module, decoder: torch.nn.Module, critic: torch.nn.Module, batch: list[Tensor]
) -> tuple[Tensor, tuple[float, float, float]]:
    """Loss of the autoencoder on (labelled, unlabelled), and its three terms summed over the two.

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


def critic_loss(encoder: torch.nn.Module, critic: torch.nn.Module, batch: list[Tensor]) -> Tensor:
    """Binary cross-entropy of D on the means of (labelled, unlabelled); the encoder is not changed by it."""
    with torch.no_grad():
        means = [encoder(x)[0] for x in batch]
    logits = [critic(mean) for mean in means]
    labelled = F.binary_cross_entropy_with_logits(logits[0], torch.ones_like(logits[0]))
    return labelled + F.binary_cross_entropy_with_logits(logits[1], torch.zeros_like(logits[1]))


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimiser.step()


def _crops(size: int, regions: Regions, images: Sequence[Any], progress: Progress) -> np.ndarray[Any, Any]:
    """(n, size, size, 3) uint8: every region's box, resized; an image is decoded once."""
    made = np.empty((len(regions.image), size, size, 3), np.uint8)
    names = np.unique(regions.image)
    for done, image in enumerate(names.tolist()):
        rows = np.flatnonzero(regions.image == image)
        made[rows] = resized(np.asarray(images[image]), regions.box[rows], size)
        progress(0.1 * (done + 1) / len(names), f"images {done + 1}/{len(names)}")
    return made
