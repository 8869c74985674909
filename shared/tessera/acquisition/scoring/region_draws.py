"""Random draws that depend on the region, not on the order in which regions are visited."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.acquisition.interfaces import Float32


def region_uniform(seed: int, image_id: str, region_ids: npt.NDArray[np.integer[Any]]) -> Float32:
    """Return a uniform float32 in [0, 1) per region of one image, a function of (seed, image_id, region_id) alone.

    SHA-256 of seed and image starts a SplitMix64 stream (Steele et al. 2014) that is indexed by the region; the top
    24 bits are kept, which float32 holds exactly.
    """
    digest = hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
    start = np.uint64(int.from_bytes(digest[:8], "big"))
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is intended
        z = start + (np.asarray(region_ids).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.asarray((z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24), np.float32)
