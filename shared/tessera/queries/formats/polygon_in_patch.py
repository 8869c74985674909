"""Polygon-in-patch query: the annotator draws polygons inside the region, by the cost model of Cai et al. 2021."""

from __future__ import annotations

from pydantic import Field

from tessera.queries.polygons import components, crossings, painted, vertices
from tessera.queries.question import FORMATS, Answer, FormatTraits, Question
from tessera.registry import Params


class PolygonParams(Params):
    """Parameters: the precision of annotators, and the seconds per click."""

    min_pixels: int = Field(default=16, ge=1)
    """Components smaller than this are not drawn (unless the region has no larger one)."""
    epsilon: float = Field(default=2.0, gt=0)
    """Tolerance of the polygons, pixels."""
    seconds_per_click: float = Field(default=3.15, gt=0)
    """An assumption, as for query mask."""


@FORMATS.register(
    "polygon_in_patch",
    PolygonParams,
    FormatTraits(
        cheapest=lambda params: {"clicks": 1, "seconds": params.seconds_per_click},
    ),
)
def polygon_in_patch(question: Question, params: PolygonParams) -> Answer:
    """Answer with the area of simplified polygons, priced by their clicks.

    Clicks (Cai et al. 2021) = 8-connected components of one class in the region (a click for the class of each)
    + points where a boundary of the truth meets the region's border with other regions + vertices of the image's
    polygons that lie in the region. Data sets with label maps instead of polygons: components of at least
    ``min_pixels``, and outlines (holes included) after Douglas-Peucker simplification with tolerance ``epsilon``. A
    region inside one object costs a single click. ``clicks_without_undefined`` leaves out the components and vertices
    of the undefined class. Seconds = clicks × ``seconds_per_click``.

    The crop is painted from the largest polygon to the smallest; pixels that none covers are 255.
    """
    parts = components(question.truth, question.inside, params.epsilon, params.min_pixels, always=True)
    corners = vertices(question.frame, params.min_pixels, params.epsilon)
    y0, x0, y1, x1 = question.box
    here = (slice(y0, y1), slice(x0, x1))
    met = crossings(question)
    clicks = len(parts) + met + int(corners.all[here][question.inside].sum())
    labels = [part.label for part in parts]
    defined = sum(1 for label in labels if label != question.ignore_index)
    return Answer(
        classes=tuple(sorted(set(labels))),
        pixels=question.pixels(),
        clicks=clicks,
        clicks_without_undefined=defined + met + int(corners.defined[here][question.inside].sum()),
        seconds=clicks * params.seconds_per_click,
        crop=painted(question, parts),
        seconds_model="per_click",
    )
