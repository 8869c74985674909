"""Training of auxiliary networks, which tell regions with an answer from those without. They see no label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.registry import Registry
from tessera.training import Picture, Progress

FeatureMap = Callable[[NDArray[np.uint8], str], NDArray[np.float32]]
"""function(RGB (H, W, 3), name of a tap) → map (D, h, w) of the segmentation network, which is not trained here."""


@dataclass(frozen=True)
class Regions:
    """Regions of the pool: index into the images (n,), half-open boxes (n, 4) and whether each has an answer (n,)."""

    image: NDArray[np.int64]
    box: NDArray[np.int32]
    labelled: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> Regions:
        """Return the regions at ``rows``, in the order given."""
        return Regions(self.image[rows], self.box[rows], self.labelled[rows])


@dataclass(frozen=True)
class AuxiliaryEpoch:
    """One row of the history: mean losses over the epoch's steps; NaN for parts that the network lacks."""

    epoch: int
    discriminator_loss: float
    reconstruction: float
    divergence: float
    adversarial: float


@dataclass(frozen=True)
class TrainedAuxiliary:
    """The tensors that the score reads, and one row per epoch."""

    state: dict[str, NDArray[Any]]
    history: tuple[AuxiliaryEpoch, ...]


@dataclass(frozen=True)
class AuxiliaryTraits:
    """State what holds of an auxiliary network whatever its parameters."""

    needs_model: bool
    """Whether it reads features of the trained segmentation network."""


AUXILIARIES: Registry[Callable[..., TrainedAuxiliary], AuxiliaryTraits] = Registry(
    "auxiliary", "tessera.training.auxiliaries", AuxiliaryTraits
)
"""Name → function(params, regions, images, features, seed, progress, device)."""


def train(
    name: str,
    params_json: str,
    regions: Regions,
    images: Sequence[NDArray[np.uint8] | Picture],
    features: FeatureMap | None,
    seed: int,
    progress: Progress | None = None,
    device: str = "cpu",
) -> TrainedAuxiliary:
    """Train the auxiliary network ``name`` from ``seed`` on which regions are labelled.

    Bit for bit repeatable on CPU for the same seed, inputs and number of threads. BadInput: no labelled or no
    unlabelled region, features missing where they are read, divergence.
    """
    params = AUXILIARIES.parameters(name, params_json)
    entry = AUXILIARIES.entry(name)
    labelled = int(regions.labelled.sum())
    if not 0 < labelled < len(regions.labelled):
        have = "all are" if labelled else "none is"
        raise BadInput(
            f"auxiliary {name}: of {len(regions.labelled)} regions {have} labelled, so there is nothing to tell apart; "
            "label some and leave some"
        )
    if entry.traits.needs_model and features is None:
        raise BadInput(f"auxiliary {name}: reads the features of a trained network and none was given; name a model")
    report = progress or (lambda _fraction, _note: None)
    return entry.function(params, regions, images, features, seed, report, device)


def drawn(regions: Regions, most: int, rng: np.random.Generator) -> Regions:
    """Return at most ``most`` labelled and ``most`` unlabelled regions, drawn uniformly, in pool order."""
    rows = []
    for kind in (True, False):
        found = np.flatnonzero(regions.labelled == kind)
        rows.append(found if len(found) <= most else rng.choice(found, most, replace=False))
    return regions.take(np.sort(np.concatenate(rows)))


def steps_per_epoch(regions: Regions, batch: int) -> int:
    """Return the number of batches that the unlabelled regions fill."""
    return max(1, -(-int((~regions.labelled).sum()) // batch))
