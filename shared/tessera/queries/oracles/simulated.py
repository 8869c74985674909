"""The answer of a faultless annotator: the ground truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tessera.queries.question import ORACLES, Answer, Question
from tessera.registry import Params


class SimulatedParams(Params):
    """A faultless annotator has no parameters."""


@ORACLES.register("simulated", SimulatedParams)
def simulated(
    question: Question, answer: Callable[[Question], Answer], params: SimulatedParams, rng: np.random.Generator
) -> Answer:
    """Answer from the truth, without error."""
    return answer(question)
