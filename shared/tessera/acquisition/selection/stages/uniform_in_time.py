"""Frames at even distances in time, the usual subsampling of video."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tessera.acquisition import STAGES
from tessera.acquisition.selection import timeline
from tessera.acquisition.selection.pool import Choice, Float64, Int64, Pool
from tessera.acquisition.traits import StageTraits
from tessera.registry import Params


class UniformInTimeParams(Params):
    """``count`` null chooses what the budget can pay for."""

    count: int | None = Field(default=None, ge=1)
    per_image: int | None = Field(default=1, ge=1)
    """Regions of each chosen image, drawn at random; null takes them all."""
    spacing: Literal["frames", "seconds"] = "frames"
    """Even in the number of frames, or in seconds where frames are not equally far apart."""


@STAGES.register("uniform_in_time", UniformInTimeParams, StageTraits(needs_times=True))
def uniform_in_time(pool: Pool, params: UniformInTimeParams, count: int, rng: np.random.Generator) -> Choice:
    """Choose regions of m images at the middles of m equal parts of time (Best Practices, §4.4, Table 5: "Uniform").

    The timeline is every sequence with unlabelled regions, one after the other, so that each gets its share. m is as
    small as ``per_image`` allows. Images come in van der Corput order: any first part of the ranking is spread evenly
    too. Stills lie in the order of their names.
    """
    k = min(len(pool), params.count if params.count is not None else count)
    images = timeline.order(pool, "uniform_in_time")
    images = images[np.isin(images, pool.image)]
    length = np.ones(len(images)) if params.spacing == "frames" else timeline.cells(pool, images)
    have = np.bincount(pool.image, minlength=len(pool.image_names))[images]
    each = np.minimum(have, params.per_image or have)
    m = min(len(images), -(-k // (params.per_image or int(have.max()))))
    picked = _even(length, m)
    while m < len(images) and each[picked].sum() < k:
        m = min(len(images), m + max(1, (k - int(each[picked].sum())) // int(each.max())))
        picked = _even(length, m)
    picked = picked[_spread(len(picked))]
    shuffled = rng.permutation(len(pool))
    if params.per_image is None:
        shuffled = np.arange(len(pool))
    rank = np.full(len(pool.image_names), -1, np.int64)
    rank[images[picked]] = np.arange(len(picked))
    rows = shuffled[rank[pool.image[shuffled]] >= 0]
    rows = rows[np.argsort(rank[pool.image[rows]], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(have[picked])])[:-1]
    nth = np.arange(len(rows)) - np.repeat(starts, have[picked])
    # A turn takes per_image regions of every image; a second turn comes only when there are too few images.
    turn = nth // (params.per_image or len(pool))
    rows = rows[np.argsort(turn, kind="stable")][:k].astype(np.int64)
    stills = int((pool.image_sequence[images] < 0).sum())
    note = f"{stills} of {len(images)} images have no time; the order of their names replaces it" if stills else ""
    return Choice(rows, np.full(len(rows), np.nan), np.full(len(rows), -1, np.int64), note)


def _even(length: Float64, m: int) -> Int64:
    """Return which of n places, each ``length`` long, hold the middles of m equal parts; distinct, ascending."""
    ends = np.cumsum(length)
    middles = (np.arange(m) + 0.5) * (ends[-1] / m)
    found = np.minimum(np.searchsorted(ends, middles, side="right"), len(length) - 1)
    # A long place may hold several middles: push later ones on, and back from the end.
    found = np.maximum.accumulate(found - np.arange(m)) + np.arange(m)
    return np.asarray(np.minimum(found, len(length) - m + np.arange(m)), np.int64)


def _spread(m: int) -> Int64:
    """Return 0 … m-1 in the order of their reversed bits (van der Corput)."""
    bits = max(1, (m - 1).bit_length())
    values = np.arange(m)
    reverse = np.zeros(m, np.int64)
    for bit in range(bits):
        reverse |= ((values >> bit) & 1) << (bits - 1 - bit)
    return np.argsort(reverse, kind="stable").astype(np.int64)
