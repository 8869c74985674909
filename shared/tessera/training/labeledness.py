"""MAL's discriminator: binary cross-entropy on the normalised features of labelled and unlabelled regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.errors import BadInput
from tessera.models.auxiliary import DiscriminatorParams
from tessera.models.discriminators import FeatureDiscriminator, batched, cells, normalised
from tessera.models.network import seeded
from tessera.training import Progress
from tessera.training.auxiliary import (
    AuxiliaryEpoch,
    FeatureMap,
    Regions,
    TrainedAuxiliary,
    drawn,
    steps_per_epoch,
)
from tessera.training.streams import Shuffled

MAP_BYTES = 1 << 30
"""Most memory for the pool's feature maps, float16; of a larger pool some images are used."""


def run(
    params: DiscriminatorParams,
    regions: Regions,
    images: Sequence[Any],
    features: FeatureMap,
    seed: int,
    progress: Progress,
    device: str,
) -> TrainedAuxiliary:
    """Minimise −E_L[log D(f̂)] − E_U[log(1 − D(f̂))] over D (MAL Eq. 3, T = 1), f̂ the normalised features.

    A batch has as many labelled as unlabelled regions, because the pool has far more of the latter. D reads the part of
    the image's map that a region's box covers; for whole images, the whole map.
    """
    rng = np.random.default_rng(seed)
    regions = drawn(regions, params.samples, rng)
    regions, maps = _maps(params, regions, images, features, rng, progress)
    parts = [_part(maps[int(image)], box) for image, box in zip(regions.image, regions.box.tolist(), strict=True)]
    with seeded(seed):
        network = FeatureDiscriminator(parts[0].shape[0]).to(device)
    optimiser = torch.optim.Adam(network.parameters(), params.lr)
    feeds = [Shuffled(np.flatnonzero(regions.labelled == kind), rng) for kind in (True, False)]
    target = torch.cat([torch.ones(params.batch), torch.zeros(params.batch)]).to(device)
    history = []
    for epoch in range(1, params.epochs + 1):
        total, steps = 0.0, steps_per_epoch(regions, params.batch)
        for _ in range(steps):
            rows = np.concatenate([feed.take(params.batch) for feed in feeds]).tolist()
            logits = batched(network, [parts[row].to(device, torch.float32) for row in rows])
            # The sum of the means over either half: the two expectations of the formula.
            loss = 2.0 * F.binary_cross_entropy_with_logits(logits, target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            total += float(loss.detach())
        mean = total / steps
        if not math.isfinite(mean):
            raise BadInput(f"auxiliary discriminator: the loss became {mean} in epoch {epoch}; lower lr {params.lr:g}")
        history.append(AuxiliaryEpoch(epoch, mean, math.nan, math.nan, math.nan))
        progress(0.5 + 0.5 * epoch / params.epochs, f"discriminator {epoch}/{params.epochs}, loss {mean:.3f}")
    state = {key: value.detach().cpu().numpy().copy() for key, value in network.state_dict().items()}
    return TrainedAuxiliary(state, tuple(history))


_Map = tuple[Tensor, tuple[int, int]]


def _maps(
    params: DiscriminatorParams,
    regions: Regions,
    images: Sequence[Any],
    features: FeatureMap,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Regions, dict[int, _Map]]:
    """Return the normalised, pooled map and the size of each image, and the regions in these images."""
    made: dict[int, _Map] = {}
    order = _images_in_turn(regions, rng)
    size = 0
    for done, image in enumerate(order):
        rgb = np.asarray(images[image])
        pooled = normalised(torch.from_numpy(features(rgb, params.tap)), params.pool).half()
        size += pooled.numel() * 2
        if size > MAP_BYTES and len(made) >= 2:
            break
        made[image] = pooled, (rgb.shape[0], rgb.shape[1])
        progress(0.5 * (done + 1) / len(order), f"features {done + 1}/{len(order)}")
    kept = regions.take(np.flatnonzero(np.isin(regions.image, list(made))))
    return kept, made


def _images_in_turn(regions: Regions, rng: np.random.Generator) -> list[int]:
    """Return the images in random order, alternating between images with and without a labelled region."""
    with_answer = set(regions.image[regions.labelled].tolist())
    shuffled = rng.permutation(np.unique(regions.image)).tolist()
    kinds = [[image for image in shuffled if (image in with_answer) == kind] for kind in (True, False)]
    ranked = [(place, kind, image) for kind, group in enumerate(kinds) for place, image in enumerate(group)]
    return [image for _, _, image in sorted(ranked)]


def _part(found: _Map, box: list[int]) -> Tensor:
    values, shape = found
    rows, columns = cells(box, shape, (values.shape[1], values.shape[2]))
    return values[:, rows, columns]
