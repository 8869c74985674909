"""The question about one region, its answer, and the two axes between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.registry import Params, Registry


@dataclass(frozen=True)
class Question:
    """One region of one image, with the truth that a simulated answer is made from."""

    image_id: str
    region_id: int
    box: tuple[int, int, int, int]
    """Half-open box of the region: y0, x0, y1, x1."""
    inside: NDArray[np.bool_]
    """(y1 - y0, x1 - x0): which pixels of the box are the region's."""
    truth: NDArray[np.uint8]
    """Class index of every pixel of the box; ``ignore_index`` where undefined."""
    ignore_index: int = 255

    @staticmethod
    def of(
        image_id: str,
        labels: NDArray[np.uint8],
        regions: NDArray[np.int32],
        region_id: int,
        box: tuple[int, int, int, int],
        ignore_index: int = 255,
    ) -> Question:
        """Cut the question out of whole-image arrays; BadInput if sizes differ or the box does not hold the region."""
        if labels.shape != regions.shape:
            raise BadInput(
                f"image {image_id}: labels are {labels.shape[1]}×{labels.shape[0]} and the region map is "
                f"{regions.shape[1]}×{regions.shape[0]} pixels; they must agree"
            )
        y0, x0, y1, x1 = box
        inside = regions[y0:y1, x0:x1] == region_id
        if not inside.any():
            raise BadInput(f"image {image_id}: box {box} holds no pixel of region {region_id}")
        return Question(image_id, region_id, box, inside, labels[y0:y1, x0:x1], ignore_index)


@dataclass(frozen=True)
class Answer:
    """What came back for one region, and its price."""

    classes: tuple[int, ...]
    """Classes in the answer, ascending; undefined is the ignore index."""
    pixels: int
    """Pixels of the region, undefined ones included."""
    clicks: int
    clicks_without_undefined: int
    seconds: float
    crop: NDArray[np.uint8] | None
    """Pixel-wise answer over the box, 255 outside the region and where undefined; None for answers without pixels."""


FormatFunction = Callable[[Question, Any], Answer]
OracleFunction = Callable[[Question, Callable[[Question], Answer], Any, np.random.Generator], Answer]

FORMATS: Registry[FormatFunction] = Registry("query", "tessera.queries.formats")
"""Name → ``(question, params) -> Answer``: the answer of somebody who sees the truth of the question."""

ORACLES: Registry[OracleFunction] = Registry("oracle", "tessera.queries.oracles")
"""Name → ``(question, answer, params, rng) -> Answer``: who answers; may change the question before ``answer``."""


def ask(
    question: Question,
    query: tuple[str, Params | dict[str, Any] | str],
    oracle: tuple[str, Params | dict[str, Any] | str] = ("simulated", {}),
    seed: int = 0,
) -> Answer:
    """Put a question to an oracle in a query format; both are (name, parameters).

    Random draws of an oracle depend on (seed, image, region) alone, so the answer does not depend on what else is asked
    in the same job. BadInput: unknown names or parameters.
    """
    form, form_params = FORMATS.entry(query[0]), _checked(FORMATS, *query)
    who, who_params = ORACLES.entry(oracle[0]), _checked(ORACLES, *oracle)
    digest = hashlib.sha256(f"{seed}/{question.image_id}/{question.region_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return who.function(question, lambda asked: form.function(asked, form_params), who_params, rng)


def _checked(registry: Registry[Any], name: str, params: Params | dict[str, Any] | str) -> Params:
    return params if isinstance(params, Params) else registry.parameters(name, params)
