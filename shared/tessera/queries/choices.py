"""Answers about a region as a whole: its dominant class or all its classes, and the seconds of naming them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from tessera.queries.polygons import OUTSIDE
from tessera.queries.question import Answer, Question

Seconds = tuple[float, float, float]
"""Seconds for regions of one, two and three classes."""


def _odd(width: int) -> int:
    if width and width % 2 == 0:
        raise ValueError("the band's width must be odd, or 0 for none")
    return width


Trim = Annotated[int, Field(ge=0), AfterValidator(_odd)]
"""Width of the boundary band of ``Question.seen``, pixels."""


def study_seconds(times: Seconds, more: float, classes: int) -> tuple[float, str]:
    """Return the seconds that a region of ``classes`` ≥ 1 classes takes, and the name of the model.

    MulActSeg's user study (its Table 3) has regions of up to three classes; every further one adds ``more``, which is
    an extrapolation and named so.
    """
    if classes <= len(times):
        return times[classes - 1], "user_study"
    return times[-1] + more * (classes - len(times)), "user_study_extrapolated"


def choose(
    question: Question,
    classes: tuple[int, ...],
    choice: Literal["one", "all"],
    visible: tuple[int, ...],
    seconds: tuple[float, str],
) -> Answer:
    """Return the answer that names ``classes``: one click each, the region filled where there is only one class."""
    time, model = seconds
    answer = Answer((), question.pixels(), 0, 0, time, None, model, choice, visible)
    return rename(question, answer, classes)


def rename(question: Question, answer: Answer, classes: tuple[int, ...]) -> Answer:
    """Return the answer with other classes named, priced anew in clicks; the time it took stays."""
    crop = None
    if len(classes) == 1:
        value = OUTSIDE if classes[0] == question.ignore_index else classes[0]
        crop = np.where(question.inside, value, OUTSIDE).astype(np.uint8)
    defined = sum(1 for label in classes if label != question.ignore_index)
    named = tuple(sorted(classes))
    return replace(answer, classes=named, clicks=len(named), clicks_without_undefined=defined, crop=crop)
