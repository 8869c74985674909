"""An annotator who confuses classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from tessera.errors import BadInput
from tessera.queries.question import ORACLES, Answer, Question
from tessera.registry import Params


class ConfusionParams(Params):
    """Parameters: a rate or a matrix of confusion."""

    rate: float = Field(default=0.1, ge=0, le=1)
    """Probability that a class of the region is confused with another one of the data set, each as likely."""
    matrix: tuple[tuple[float, ...], ...] = ()
    """Instead of ``rate``: row = true class, column = class it is taken for; each row sums to 1."""

    @model_validator(mode="after")
    def _rows(self) -> Self:
        for index, row in enumerate(self.matrix):
            if len(row) != len(self.matrix):
                raise ValueError(f"matrix row {index} has {len(row)} entries, expected {len(self.matrix)}")
            if not all(0 <= one <= 1 for one in row) or abs(sum(row) - 1) > 1e-6:
                raise ValueError(
                    f"matrix row {index} is no distribution (sum {sum(row):g}); entries 0..1 that sum to 1"
                )
        return self


@ORACLES.register("confusion", ConfusionParams)
def confusion(
    question: Question, answer: Callable[[Question], Answer], params: ConfusionParams, rng: np.random.Generator
) -> Answer:
    """Answer from a truth in which each class of the region may stand for another one, all of its pixels alike.

    One draw per class of the region, in ascending order; undefined pixels stay undefined. BadInput: a matrix that is
    not of the data set's classes.
    """
    known = question.frame.classes
    if params.matrix and known is not None and len(params.matrix) != known:
        raise BadInput(
            f"oracle.confusion.matrix: {len(params.matrix)} rows, the data set has {known} classes; give one row per "
            "class"
        )
    present = [label for label in question.classes() if label != question.ignore_index]
    classes = len(params.matrix) or known or max(present, default=0) + 1
    taken = np.arange(256, dtype=np.uint8)
    for label in present:
        if params.matrix:
            if label >= classes:
                raise BadInput(f"oracle.confusion.matrix: {classes} rows, and {question.image_id} has class {label}")
            taken[label] = rng.choice(classes, p=np.asarray(params.matrix[label]) / sum(params.matrix[label]))
        elif rng.random() < params.rate and classes > 1:
            other = int(rng.integers(classes - 1))
            taken[label] = other + (other >= label)
    return answer(replace(question, truth=taken[question.truth]))
