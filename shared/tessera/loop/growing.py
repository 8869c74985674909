"""A data set that grows during a run: each round from 1 on takes up its newest version, in step take.

Like step collect it is no job for a worker: the coordinator looks into the store and commits what it found as the
step's record. So the log says which version a round used, and whoever replays or rebuilds the run finds the same.
"""

from __future__ import annotations

from typing import Final

from tessera.loop.embedding import Made
from tessera.loop.facts import Facts
from tessera.pb.runs_pb2 import TakeVersionRequest

STEP: Final = "take"
TAKE: Final = "TakeVersion"
"""Name of the step's method: that of its messages, TakeVersionRequest and TakeVersionResponse."""
ALGORITHM: Final = "take/1"


def take(facts: Facts, round_: int) -> Made:
    """Look for images that joined the data set since the round before."""
    before = facts.data(round_ - 1)
    return TAKE, [
        TakeVersionRequest(
            context=facts.context(round_, STEP),
            run_id=facts.spec.run_id,
            round=round_,
            series=facts.spec.series,
            manifest=before.manifest,
            version=before.version,
        )
    ]
