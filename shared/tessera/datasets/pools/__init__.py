"""Pools: data sets of a chosen redundancy made from another data set, one module each, registered by name.

A pool is a function ``(source, params, seed) -> entries``: which image goes into which split, and how a duplicate is
changed. It decides by names and times alone, depends on nothing but its arguments (not on the order in which a folder
lists its files), and the function in ``datasets/making.py`` writes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tessera.datasets.augment import Change
from tessera.datasets.samples import LabelledImage, Source
from tessera.errors import BadInput
from tessera.registry import Registry


@dataclass(frozen=True)
class PoolImage:
    """One image of a pool: its id and split there, the sample it comes from, and how it is changed, if it is."""

    image_id: str
    split: str
    sample: LabelledImage
    change: Change | None = None


Choose = Callable[[Source, Any, int], tuple[PoolImage, ...]]


@dataclass(frozen=True)
class PoolTraits:
    """Traits of a pool, known before it is made."""

    evaluate: tuple[str, ...] = ()
    """Splits that a run on the pool can measure; empty: those of the recipe."""


POOLS: Registry[Choose, PoolTraits] = Registry("pool", "tessera.datasets.pools", PoolTraits)


def kept(samples: Iterable[LabelledImage], split: str | None = None) -> tuple[PoolImage, ...]:
    """Return the entries for unchanged samples, in order of id; in ``split``, or in their own."""
    return tuple(PoolImage(s.image_id, split or s.split, s) for s in sorted(samples, key=lambda s: s.image_id))


def others(source: Source) -> tuple[PoolImage, ...]:
    """Return the entries of every split but train, unchanged."""
    return tuple(entry for split, samples in source.splits.items() if split != "train" for entry in kept(samples))


def train_of(source: Source) -> list[LabelledImage]:
    """Return the training images by id; BadInput when there are none."""
    samples = sorted(source.splits.get("train", ()), key=lambda sample: sample.image_id)
    if not samples:
        raise BadInput(f"data set {source.name}: no images in train, so there is nothing to make a pool from")
    return samples
