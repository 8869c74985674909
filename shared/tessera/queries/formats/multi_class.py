"""Multi-class query: the annotator names every class that the region shows (MulActSeg)."""

from __future__ import annotations

from pydantic import Field

from tessera.queries.choices import Trim, choose, study_seconds
from tessera.queries.question import FORMATS, Answer, FormatTraits, Question
from tessera.registry import Params


class MultiClassParams(Params):
    """Parameters: which classes an annotator overlooks, and the seconds of an answer."""

    trim: Trim = 5
    """Width of the boundary band in which classes are overlooked, pixels: thick boundaries of the region map dilated
    with a trim × trim square (odd; 0: nothing is overlooked)."""
    seconds: tuple[float, float, float] = (7.28, 9.58, 14.79)
    """Seconds for regions of one, two and three classes (MulActSeg, Table 3: total time of 20 regions / 20)."""
    seconds_more: float = Field(default=4.0, ge=0)
    """Seconds for each further class; extrapolated."""


@FORMATS.register(
    "multi_class",
    MultiClassParams,
    FormatTraits(
        pixels="one_class",
        choice="all",
        cheapest=lambda params: {"clicks": 1, "seconds": min(params.seconds)},
    ),
)
def multi_class(question: Question, params: MultiClassParams) -> Answer:
    """Answer with the set of classes on the pixels outside the boundary band, or on all if none is left.

    One click per class, undefined included: any undefined pixel that is left sets its bit, so that
    ``clicks`` = set bits and ``clicks_without_undefined`` = set bits of the classes (MulActSeg, section B, and its
    published count). A region of one class is filled with it; the answer for several classes has no pixels.
    """
    visible = question.classes(params.trim)
    return choose(question, visible, "all", visible, study_seconds(params.seconds, params.seconds_more, len(visible)))
