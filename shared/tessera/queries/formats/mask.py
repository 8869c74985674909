"""Mask query: the annotator draws the class of every pixel of the region."""

from __future__ import annotations

from pydantic import Field

from tessera.queries.polygons import components, truth_crop
from tessera.queries.question import FORMATS, Answer, FormatTraits, Question
from tessera.registry import Params


class MaskParams(Params):
    """Parameters of the price of a mask; none of them changes the labels."""

    min_pixels: int = Field(default=16, ge=1)
    """Components smaller than this are not drawn (unless the region has no larger one)."""
    epsilon: float = Field(default=2.0, gt=0)
    """Tolerance of the polygons, pixels."""
    seconds_per_click: float = Field(default=3.15, gt=0)
    """An assumption, not a measurement: Cityscapes reports 1.5 h per image, and the polygon cost model counts 5,095,159
    clicks for its 2,975 training images: 5,400 s / 1,713 clicks."""


@FORMATS.register(
    "mask",
    MaskParams,
    FormatTraits(
        # A single pixel costs two clicks: its class and its only vertex.
        cheapest=lambda params: {"clicks": 2, "seconds": 2 * params.seconds_per_click},
    ),
)
def mask(question: Question, params: MaskParams) -> Answer:
    """Answer with the truth inside the region and price it by the polygon cost model.

    Clicks (Cai et al. 2021's polygon cost, for data sets that have no polygons): every 8-connected component of one
    class with at least ``min_pixels`` pixels inside the region costs one click for its class and one for each vertex of
    its outlines, holes included, after Douglas-Peucker simplification with tolerance ``epsilon``. If no component is
    that large, the largest one is drawn, so that no answer is free; of equally large ones the one whose first pixel
    comes first, row by row, whatever its class. The undefined class is drawn like any other;
    ``clicks_without_undefined`` leaves its components out. Seconds = clicks × ``seconds_per_click``.
    """
    parts = components(question.truth, question.inside, params.epsilon, params.min_pixels, always=True)
    clicks = sum(1 + part.vertices for part in parts)
    return Answer(
        classes=question.classes(),
        pixels=question.pixels(),
        clicks=clicks,
        clicks_without_undefined=sum(1 + part.vertices for part in parts if part.label != question.ignore_index),
        seconds=clicks * params.seconds_per_click,
        crop=truth_crop(question),
        seconds_model="per_click",
    )
