"""People answer: the run waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field

from tessera.queries.question import ORACLES, Answer, OracleTraits, Question
from tessera.registry import Params


class HumanParams(Params):
    """Parameters: how many people answer a question, and how the round goes on."""

    overlap: int = Field(default=1, ge=1, le=9)
    """How many annotators answer each question."""
    resolve: Literal["third", "majority"] = "third"
    """Where annotators differ: ask one more (``third``), or go by the majority of those asked. A pixel without a
    majority teaches nothing; of classes without one, the last annotator's count."""
    agreement: float = Field(default=0.9, ge=0.0, le=1.0)
    """Share of pixels (or of named classes) on which annotators must agree, or one more is asked."""
    skips: int = Field(default=1, ge=1, le=9)
    """How many annotators must skip a question before it is left out."""
    lease_seconds: float = Field(default=1800.0, ge=10, le=2_592_000)
    """How long a question is kept for the annotator who took it."""
    undo_seconds: float = Field(default=10.0, ge=0, le=86_400)
    """How long the round stays open after its last answer, so that it can be corrected."""
    prediction: bool = True
    """Whether the model's prediction is offered as a starting point, from the first round that has a model."""
    superpixels: int = Field(default=0, ge=0, le=512, multiple_of=4)
    """Edge of the superpixels (SEEDS) that are offered as a starting point, pixels; 0: none."""


@ORACLES.register("human", HumanParams, OracleTraits(by_people=True))
def human(
    question: Question, answer: Callable[[Question], Answer], params: HumanParams, rng: np.random.Generator
) -> Answer:
    """Answer from what a person drew: it stands where the simulated oracle has the truth."""
    return answer(question)
