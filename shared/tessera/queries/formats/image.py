"""Image query: the annotator draws the class of every pixel of a whole image."""

from __future__ import annotations

from pydantic import Field

from tessera.errors import BadInput
from tessera.queries.polygons import components, truth_crop
from tessera.queries.question import FORMATS, Answer, FormatTraits, Question
from tessera.registry import Params


class ImageQueryParams(Params):
    """Parameters of the price of an image; none of them changes the labels."""

    seconds_per_image: float = Field(default=5400.0, gt=0)
    """Seconds per image: Cityscapes reports 1.5 h, quality control included."""
    clicks_per_image: int | None = Field(default=None, ge=1)
    """A flat price in clicks; None: the polygon cost model, as for query mask."""
    min_pixels: int = Field(default=16, ge=1)
    """As for query mask."""
    epsilon: float = Field(default=2.0, gt=0)
    """As for query mask, pixels."""


@FORMATS.register(
    "image",
    ImageQueryParams,
    FormatTraits(
        whole_image=True,
        cheapest=lambda params: {"clicks": params.clicks_per_image or 2, "seconds": params.seconds_per_image},
    ),
)
def image(question: Question, params: ImageQueryParams) -> Answer:
    """Answer with the truth of the whole image, at a flat price in seconds.

    BadInput: the region is not the whole image; this query needs partition image.
    """
    if question.inside.shape != question.frame.labels.shape or not question.inside.all():
        raise BadInput(
            f"query image: region {question.region_id} of {question.image_id} is a part of its image; "
            "use partition image, or query mask"
        )
    undefined = question.ignore_index
    if params.clicks_per_image is None:
        parts = components(question.truth, question.inside, params.epsilon, params.min_pixels, always=True)
        clicks = sum(1 + part.vertices for part in parts)
        defined = sum(1 + part.vertices for part in parts if part.label != undefined)
    else:
        clicks = params.clicks_per_image
        defined = clicks if question.classes() != (undefined,) else 0
    return Answer(
        classes=question.classes(),
        pixels=question.pixels(),
        clicks=clicks,
        clicks_without_undefined=defined,
        seconds=params.seconds_per_image,
        crop=truth_crop(question),
        seconds_model="per_image",
    )
