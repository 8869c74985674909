"""Seeds of all random choices of a run."""

from __future__ import annotations

import hashlib


def derive(run_seed: int, round_: int, purpose: str) -> int:
    """Derive the seed of one purpose in one round, in 0 … 2^63-1.

    The first eight bytes of sha256("run_seed/round/purpose"). The recipe is not part of it: runs that differ in
    strategy share the initial set and the order of mini-batches, so that their curves are paired.
    """
    digest = hashlib.sha256(f"{run_seed}/{round_}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
