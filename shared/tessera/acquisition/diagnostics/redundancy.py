"""Redundancy of a pool: how many of its images are near-duplicates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tessera.acquisition.diagnostics import cosine
from tessera.acquisition.diagnostics.cosine import Int64
from tessera.acquisition.interfaces import Float32, Float64
from tessera.errors import BadInput

MOST = 8192
"""Images that are compared pair by pair: 512 MiB of similarities."""


@dataclass(frozen=True)
class Redundancy:
    """Redundancy figures of a pool; similarities are cosines of image features."""

    images: int
    radius: float
    """Cosine distance within which two images count as near-duplicates."""
    nearest: float
    """Mean similarity to the most similar other image."""
    twins: float
    """Share of images that have a near-duplicate."""
    leaders: int
    """Images that remain when near-duplicates of earlier ones are left out (leader clustering)."""
    effective_size: float
    """Number of different images: exp of the entropy of the kernel's spectrum, at the scale of ``radius``."""
    adjacent: float | None
    """Share of images whose most similar one is the frame before or after; None without sequences."""
    adjacent_by_chance: float | None
    """The same share if the most similar image were drawn uniformly from the others."""
    frame_seconds: float | None
    """Median seconds between successive frames."""

    @property
    def leader_share(self) -> float:
        """Return ``leaders`` as a share of the images: 1 where no two are near-duplicates."""
        return self.leaders / self.images

    @property
    def effective_share(self) -> float:
        """Return ``effective_size`` as a share of the images."""
        return self.effective_size / self.images


def redundancy(
    features: Float32 | Float64,
    names: Sequence[str],
    sequences: Sequence[str] | None = None,
    times: Sequence[float] | None = None,
    radius: float = 0.05,
) -> Redundancy:
    """Measure a pool from one feature vector per image, (n, D), in the order of the data set.

    ``names`` are the image ids, ``sequences`` the video of each ("" for stills), ``times`` its seconds there.
    BadInput: fewer than two images, more than ``MOST``, features that are not finite (naming the image), radius outside
    0 … 1.
    """
    _check(features, names, radius)
    similar = cosine.similarities(features)
    index, closest = cosine.nearest(similar)
    adjacent, chance, seconds = _adjacency(index, sequences, times)
    return Redundancy(
        images=len(features),
        radius=radius,
        nearest=float(closest.mean()),
        twins=float((closest >= 1 - radius).mean()),
        leaders=len(cosine.leaders(similar, radius)),
        effective_size=cosine.effective_size(similar, radius),
        adjacent=adjacent,
        adjacent_by_chance=chance,
        frame_seconds=seconds,
    )


def _check(features: Float32 | Float64, names: Sequence[str], radius: float) -> None:
    if features.ndim != 2 or len(features) != len(names):
        raise BadInput(
            f"redundancy: features of shape {features.shape} for {len(names)} images; give one row per image"
        )
    if not 2 <= len(features) <= MOST:
        raise BadInput(f"redundancy: {len(features)} images; compare 2 to {MOST:,} of them")
    if not 0 < radius < 1:
        raise BadInput(f"redundancy: radius {radius}; give a cosine distance between 0 and 1, such as 0.05")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise BadInput(
            f"redundancy: the features of image {names[int(bad[0])]} hold NaN or infinity ({len(bad)} images in all); "
            "check the weights"
        )


def _adjacency(
    nearest: Int64, sequences: Sequence[str] | None, times: Sequence[float] | None
) -> tuple[float | None, float | None, float | None]:
    """Return the share of rows whose nearest row is a neighbour in time, that by chance, and median frame seconds."""
    if sequences is None or times is None:
        return None, None, None
    rows: dict[str, list[int]] = {}
    for row, sequence in enumerate(sequences):
        if sequence:
            rows.setdefault(sequence, []).append(row)
    beside: dict[int, set[int]] = {}
    gaps: list[float] = []
    for members in rows.values():
        ordered = sorted(members, key=lambda row: (times[row], row))
        for before, after in itertools.pairwise(ordered):
            beside.setdefault(before, set()).add(after)
            beside.setdefault(after, set()).add(before)
            gaps.append(times[after] - times[before])
    if not beside:
        return None, None, None
    hits = [int(nearest[row]) in near for row, near in beside.items()]
    chance = [len(near) / (len(nearest) - 1) for near in beside.values()]
    return float(np.mean(hits)), float(np.mean(chance)), float(np.median(gaps))
