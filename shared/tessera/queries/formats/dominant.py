"""Dominant-class query: the annotator names the one class that most of the region shows."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tessera.queries.choices import Trim, choose, study_seconds
from tessera.queries.question import FORMATS, Answer, FormatTraits, Question
from tessera.registry import Params


class DominantParams(Params):
    """Parameters: which pixels count for the majority, and the seconds of an answer."""

    over: Literal["region", "trimmed"] = "region"
    """Pixels that vote: all of the region, as MulActSeg defines the dominant class (its section B), or only those
    outside the boundary band, as for its multi-class labels."""
    trim: Trim = 5
    """Width of the boundary band, pixels (odd; 0: none): classes inside it are overlooked when time is counted."""
    seconds: tuple[float, float, float] = (6.38, 8.02, 8.60)
    """Seconds for regions of one, two and three classes (MulActSeg, Table 3)."""
    seconds_more: float = Field(default=1.11, ge=0)
    """Seconds for each further class: the mean step of the three; extrapolated."""


@FORMATS.register(
    "dominant",
    DominantParams,
    FormatTraits(
        choice="one",
        cheapest=lambda params: {"clicks": 1, "seconds": min(params.seconds)},
    ),
)
def dominant(question: Question, params: DominantParams) -> Answer:
    """Answer with the class that most pixels show; one click. The answer's crop fills the region with it.

    Undefined is a class like the others and costs its click; of equally frequent classes the lowest index wins, and any
    class before undefined.
    """
    voters = question.truth[question.seen(params.trim) if params.over == "trimmed" else question.inside]
    votes = np.bincount(voters)
    ties = np.flatnonzero(votes == votes.max()).tolist()
    main = next((label for label in ties if label != question.ignore_index), ties[0])
    visible = question.classes(params.trim)
    return choose(question, (main,), "one", visible, study_seconds(params.seconds, params.seconds_more, len(visible)))
