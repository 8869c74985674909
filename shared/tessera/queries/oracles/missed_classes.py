"""An annotator who misses classes and names wrong ones at the rates of MulActSeg's user study."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from tessera.errors import BadInput
from tessera.queries.choices import rename
from tessera.queries.question import ORACLES, Answer, OracleTraits, Question
from tessera.registry import Params

Three = tuple[float, float, float]


class MissedClassesParams(Params):
    """Measurements to meet, for regions that show one, two and three classes (MulActSeg, Table 3)."""

    jaccard: Three = (0.9597, 0.8714, 0.7152)
    """Multi-class queries: mean of |true ∩ named| / |true ∪ named| (its equation 14)."""
    named: Three = (1.08, 1.955, 2.45)
    """Multi-class queries: mean number of classes named (21.6, 39.1 and 49.0 clicks for 20 regions)."""
    accuracy: Three = (0.9563, 0.7205, 0.6583)
    """Dominant-class queries: share of right answers."""
    undefined: Literal["right"] = "right"
    """Undefined is named where it is right, and never by mistake: the study has no region that shows it (appendix A). A
    parameter because earlier versions could name it, and results of both must not share a job key."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for classes in (1, 2, 3):
            if not 0 <= self.accuracy[classes - 1] <= 1:
                raise ValueError(
                    f"accuracy for {classes} classes: {self.accuracy[classes - 1]:g} is not between 0 and 1"
                )
            added, missed = self.rates(classes)
            # The study's figures are rounded: for one class they say that 0.0002 of it is missed.
            if not (0 <= added <= 1 and -0.01 <= missed <= classes - 0.99):
                raise ValueError(
                    f"jaccard {self.jaccard[classes - 1]:g} with {self.named[classes - 1]:g} classes named cannot be "
                    f"met for regions of {classes}; leave one of them at its default or raise jaccard"
                )
        return self

    def rates(self, classes: int) -> tuple[float, float]:
        """Return how often a wrong class is added and how many right ones are missed on average.

        With k of n right classes kept and a wrong one added with probability a, independently, the mean number named is
        E[k] + a and the mean Jaccard index E[k]/n · (1 − a/(n+1)); both are solved for a and n − E[k]. Regions of more
        than three classes miss the same share of their classes and add as often as those of three: extrapolated.
        """
        n = min(classes, 3)
        named, jaccard = self.named[n - 1], self.jaccard[n - 1]
        # a²/(n+1) − a (1 + named/(n+1)) + named − n·jaccard = 0, the root in 0..1.
        linear, constant = 1 + named / (n + 1), named - n * jaccard
        inner = linear * linear - 4 * constant / (n + 1)
        if inner < 0:
            return math.nan, math.nan
        added = (linear - math.sqrt(inner)) * (n + 1) / 2
        return added, (n - (named - added)) * classes / n


@ORACLES.register("missed_classes", MissedClassesParams, OracleTraits(needs_choice=True))
def missed_classes(
    question: Question, answer: Callable[[Question], Answer], params: MissedClassesParams, rng: np.random.Generator
) -> Answer:
    """Answer with classes missed and added at the calibrated rates; the price is that of the named classes.

    Which right class is missed is drawn evenly, at least one is kept; a wrong class is one that the image shows and the
    region does not (for a dominant class first another one of the region), and never undefined. BadInput for pixel-wise
    queries.
    """
    reply = answer(question)
    if reply.choice is None:
        raise BadInput(
            "oracle missed_classes: answers queries dominant and multi_class only; "
            "for pixel-wise queries use boundary_slips or confusion"
        )
    present = [label for label in question.frame.present() if label != question.ignore_index]
    elsewhere = [label for label in present if label not in reply.visible]
    if reply.choice == "one":
        mistaken = [label for label in reply.visible if label in present and label != reply.classes[0]]
        # The majority class may lie in the boundary band alone, and so not be visible.
        others = mistaken or [label for label in elsewhere if label != reply.classes[0]]
        return rename(question, reply, (_one(reply, others, params, rng),))
    added, missed = params.rates(len(reply.classes))
    missed = max(missed, 0.0)
    whole = math.floor(missed)
    count = whole + int(rng.random() < missed - whole)
    keep = len(reply.classes) - min(count, len(reply.classes) - 1)
    kept = rng.permutation(len(reply.classes))[:keep]
    named = [reply.classes[index] for index in kept]
    if rng.random() < added and elsewhere:
        named.append(elsewhere[int(rng.integers(len(elsewhere)))])
    return rename(question, reply, tuple(named))


def _one(reply: Answer, wrong: list[int], params: MissedClassesParams, rng: np.random.Generator) -> int:
    right = reply.classes[0]
    if rng.random() < params.accuracy[min(len(reply.visible), 3) - 1]:
        return right
    return wrong[int(rng.integers(len(wrong)))] if wrong else right
