"""VAAL (Sinha et al. 2019): an autoencoder that hides which images are labelled from a discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.errors import BadInput
from tessera.models.auxiliary import VaalParams
from tessera.registry import Params
from tessera.training import Progress
from tessera.training.auxiliary import (
    AUXILIARIES,
    AuxiliaryEpoch,
    AuxiliaryTraits,
    FeatureMap,
    Regions,
    TrainedAuxiliary,
    drawn,
    steps_per_epoch,
)

if TYPE_CHECKING:
    import torch


@AUXILIARIES.register("vaal", VaalParams, AuxiliaryTraits(needs_model=False))
def vaal(
    params: Params,
    regions: Regions,
    images: Sequence[Any],
    features: FeatureMap | None,
    seed: int,
    progress: Progress,
    device: str,
) -> TrainedAuxiliary:
    """Train q(z | x), p(x | z) and D on the images of the pool, alternating two autoencoder steps and one step of D.

    Autoencoder: Σ over labelled and unlabelled batch of reconstruction + β KL, plus λ times the loss of D if both were
    labelled. D: −E_L[log D(μ)] − E_U[log(1 − D(μ))]. D reads the mean of q, as in the published code. In later versions
    of that code the autoencoder helps D instead of fooling it; this follows the paper's formula. Returns encoder and D,
    which the score reads. The segmentation network is not used.
    """
    assert isinstance(params, VaalParams)  # noqa: S101 - narrows for the type checker
    return run(params, regions, images, seed, progress, device)


def run(
    params: VaalParams, regions: Regions, images: Sequence[Any], seed: int, progress: Progress, device: str
) -> TrainedAuxiliary:
    """Train as `vaal` says; BadInput when a loss is no longer finite."""
    import torch

    from tessera.models.network import seeded
    from tessera.models.vaal import Decoder, LatentCritic, autoencoder_loss, critic_loss, pixels
    from tessera.training.streams import Shuffled

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


def _step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimiser.step()


def _crops(size: int, regions: Regions, images: Sequence[Any], progress: Progress) -> np.ndarray[Any, Any]:
    """Return every region's box, resized: (n, size, size, 3) uint8; decodes each image once."""
    from tessera.models.resize import resized

    made = np.empty((len(regions.image), size, size, 3), np.uint8)
    names = np.unique(regions.image)
    for done, image in enumerate(names.tolist()):
        rows = np.flatnonzero(regions.image == image)
        made[rows] = resized(np.asarray(images[image]), regions.box[rows], size)
        progress(0.1 * (done + 1) / len(names), f"images {done + 1}/{len(names)}")
    return made
