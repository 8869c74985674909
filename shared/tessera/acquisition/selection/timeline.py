"""Images of a pool in the order of time, sequence after sequence."""

from __future__ import annotations

import numpy as np

from tessera.acquisition.selection.pool import Float64, Int64, Pool
from tessera.errors import BadInput


def order(pool: Pool, stage: str) -> Int64:
    """Return the codes of all images (labelled ones too) by sequence, time and name; stills first, as one sequence.

    BadInput when the pool has no times.
    """
    if pool.times is None:
        raise BadInput(f"selection stage {stage}: needs the data set's manifest for times; name it in the request")
    time = np.where(pool.image_sequence < 0, 0.0, pool.image_time)
    # lexsort is stable and codes follow the names.
    return np.lexsort((time, pool.image_sequence)).astype(np.int64)


def position(pool: Pool, images: Int64) -> Int64:
    """Return the place of each image (n,), ordered as by ``order``, within its sequence, from 0."""
    sequence = pool.image_sequence[images]
    starts = np.flatnonzero(np.concatenate([[True], sequence[1:] != sequence[:-1]])) if len(images) else images
    lengths = np.diff(np.concatenate([starts, [len(images)]]))
    return np.arange(len(images), dtype=np.int64) - np.repeat(starts, lengths)


def cells(pool: Pool, images: Int64) -> Float64:
    """Return the seconds (n,) that each image stands for: half the gaps to its neighbours in the sequence.

    The first and the last of a sequence count their one gap whole; stills and sequences of one image count the median
    gap (1 where there is none).
    """
    sequence, time = pool.image_sequence[images], pool.image_time[images]
    same = (sequence[1:] == sequence[:-1]) & (sequence[1:] >= 0)
    gap = np.where(same, time[1:] - time[:-1], np.nan)
    sides = np.stack([np.concatenate([[np.nan], gap]), np.concatenate([gap, [np.nan]])])
    known = ~np.isnan(sides)
    usual = float(np.median(gap[same])) if same.any() else 1.0
    mean = np.where(known, sides, 0.0).sum(axis=0) / np.maximum(1, known.sum(axis=0))
    return np.where(known.any(axis=0), mean, usual)
