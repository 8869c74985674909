"""Pixel query: the annotator names the class of single pixels of the region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tessera.queries.polygons import OUTSIDE
from tessera.queries.question import FORMATS, Answer, FormatTraits, Question, distinct
from tessera.registry import Params


class PixelParams(Params):
    """Parameters: the number of pixels per region, and the seconds of one."""

    pixels: int = Field(default=1, ge=1)
    """Pixels per region; of a smaller region, all pixels."""
    seconds_per_click: float = Field(default=6.38, gt=0)
    """Seconds per pixel. An assumption: those of a region with one class (MulActSeg, Table 3)."""


def drawn(question: Question, params: PixelParams) -> NDArray[np.int64]:
    """Return the pixels that are asked about, (n,) ascending: indices into the flattened box."""
    places = np.flatnonzero(question.inside)
    count = min(params.pixels, len(places))
    return np.sort(question.rng("pixel").choice(places, count, replace=False))


@FORMATS.register(
    "pixel",
    PixelParams,
    FormatTraits(
        counts_pixels=True,
        cheapest=lambda params: {"clicks": 1, "pixels": 1, "seconds": params.seconds_per_click},
    ),
)
def pixel(question: Question, params: PixelParams) -> Answer:
    """Answer with the class of ``pixels`` pixels, drawn without replacement by (seed, image, region); one click each.

    PixelPick's sparse labels (there 10 pixels per image, drawn among the most uncertain): here the selection chooses
    the regions, and their pixels are random. ``Answer.pixels`` counts the pixels named.
    """
    chosen = drawn(question, params)
    count = len(chosen)
    named = question.truth.ravel()[chosen]
    defined = named != question.ignore_index
    crop = np.full(question.truth.shape, OUTSIDE, np.uint8)
    crop.ravel()[chosen[defined]] = named[defined]
    return Answer(
        classes=distinct(named),
        pixels=count,
        clicks=count,
        clicks_without_undefined=int(np.count_nonzero(defined)),
        seconds=count * params.seconds_per_click,
        crop=crop,
        seconds_model="per_click",
    )
