"""Figures of a round's batch: the images, videos and classes of its regions, and their similarity."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.acquisition.diagnostics import class_entropy, spread
from tessera.regions.keys import RegionKeys

Region = tuple[str, int]


def regions_of(ledger: Mapping[str, Any]) -> list[Region]:
    """Return the regions that were answered, in the order of the ledger."""
    return [(str(i), int(r)) for i, r in zip(ledger["image_id"], ledger["region_id"], strict=True)]


def points_of(embedding: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the coordinates x0, x1, … of an embedding table, (n, d)."""
    found = [name for name in embedding if name[0] == "x" and name[1:].isdecimal()]
    axes = sorted(found, key=lambda name: int(name[1:]))
    return np.column_stack([np.asarray(embedding[name], np.float64) for name in axes])


def places(embedding: Mapping[str, Any], chosen: Mapping[Region, int], earlier: Set[Region]) -> NDArray[np.int64]:
    """Return the fate of each row of an embedding table: its rank if chosen, −1 if not, −2 if labelled before; (n,)."""
    keys = RegionKeys.encode(embedding["image_id"], embedding["region_id"])

    def rows(regions: Collection[Region]) -> NDArray[np.int64]:
        """Return the row of each region, −1 for regions that the table lacks."""
        return keys.locate(RegionKeys.encode([image for image, _ in regions], [region for _, region in regions]))

    # One more place, for regions that the table lacks.
    made = np.full(len(keys) + 1, -1, np.int64)
    made[rows(earlier)] = -2
    made[rows(chosen)] = np.fromiter(chosen.values(), np.int64, len(chosen))
    return made[:-1]


def figures(
    ledger: Mapping[str, Any],
    sequences: Mapping[str, str],
    classes: int,
    embedding: Mapping[str, Any] | None = None,
    earlier: Set[Region] = frozenset(),
) -> dict[str, Any]:
    """Return the figures of one round's batch, as JSON values.

    ``ledger``: the round's answers; ``sequences``: image id → video ("" for stills); ``embedding``: the round's table
    of candidates, of which ``earlier`` are labelled already and not in the pool. ``distance`` compares the batch with a
    random one of equal size from the candidates; None without an embedding or with fewer than two chosen points.
    ``sequences`` is None for data without videos, ``class_entropy`` (nats) where no answer names a class.
    """
    asked = regions_of(ledger)
    images = {image for image, _ in asked}
    videos = {sequences[image] for image in images if sequences.get(image)}
    named = [[int(one) for one in answer] for answer in ledger["classes"]]
    met = {one for answer in named for one in answer if 0 <= one < classes}
    return {
        "regions": len(asked),
        "images": len(images),
        "sequences": len(videos) if any(sequences.values()) else None,
        "classes": len(met),
        "class_entropy": class_entropy(named, classes),
        "distance": None if embedding is None else _distance(embedding, asked, earlier),
    }


def _distance(embedding: Mapping[str, Any], asked: list[Region], earlier: Set[Region]) -> dict[str, Any] | None:
    where = places(embedding, {region: rank for rank, region in enumerate(asked)}, earlier)
    pool = where != -2
    points = points_of(embedding)[pool]
    made = spread(points, np.flatnonzero(where[pool] >= 0))
    if made is None:
        return None
    return {
        "inside": made.inside,
        "random": made.random,
        "ratio": made.ratio,
        "candidates": len(points),
        "dimensions": points.shape[1],
    }
