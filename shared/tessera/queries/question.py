"""The question about one region, its answer, and the two axes between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.regions import boundary_band
from tessera.registry import Params, Registry

T = TypeVar("T")


@dataclass(frozen=True)
class AnnotatedImage:
    """One image as annotators see it: its labels, its regions, and results that all its questions share."""

    image_id: str
    labels: NDArray[np.uint8]
    """(H, W) class index of every pixel; ``ignore_index`` where undefined."""
    regions: NDArray[np.int32]
    """(H, W) region ids."""
    ignore_index: int = 255
    classes: int | None = None
    """Classes of the data set; None: up to the largest in this image."""
    _made: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.labels.shape != self.regions.shape:
            labels, regions = self.labels.shape, self.regions.shape
            raise BadInput(
                f"image {self.image_id}: labels are {labels[1]}×{labels[0]} and the region map is "
                f"{regions[1]}×{regions[0]} pixels; they must agree"
            )

    def once(self, key: Any, make: Callable[[AnnotatedImage], T]) -> T:
        """Return ``make(image)``, computed once per ``key``."""
        if key not in self._made:
            self._made[key] = make(self)
        made: T = self._made[key]
        return made

    def band(self, width: int) -> NDArray[np.bool_]:
        """Return the boundary band of the whole map (``regions.boundary_band``); a crop would miss the neighbours."""
        return self.once(("band", width), lambda frame: boundary_band(frame.regions, width))

    def present(self) -> tuple[int, ...]:
        """Return the classes of the image, ascending; undefined is the ignore index."""
        return self.once("present", lambda frame: distinct(frame.labels))

    def question(self, region_id: int, box: tuple[int, int, int, int]) -> Question:
        """Cut out the question about one region; O(box). BadInput if the box does not hold the region."""
        y0, x0, y1, x1 = box
        inside = self.regions[y0:y1, x0:x1] == region_id
        if not inside.any():
            raise BadInput(f"image {self.image_id}: box {box} holds no pixel of region {region_id}")
        return Question(self, region_id, box, inside, self.labels[y0:y1, x0:x1])


@dataclass(frozen=True)
class Question:
    """One region of one image, with the truth that a simulated answer is made from."""

    frame: AnnotatedImage
    region_id: int
    box: tuple[int, int, int, int]
    """Half-open box of the region: y0, x0, y1, x1."""
    inside: NDArray[np.bool_]
    """(y1 - y0, x1 - x0): which pixels of the box are the region's."""
    truth: NDArray[np.uint8]
    """Class index of every pixel of the box, as the annotator sees it; ``ignore_index`` where undefined."""
    seed: int = 0

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
        return AnnotatedImage(image_id, labels, regions, ignore_index).question(region_id, box)

    @property
    def image_id(self) -> str:
        """Return the image of the region."""
        return self.frame.image_id

    @property
    def ignore_index(self) -> int:
        """Return the value of undefined pixels."""
        return self.frame.ignore_index

    def pixels(self) -> int:
        """Return the pixels of the region, undefined ones included."""
        return int(np.count_nonzero(self.inside))

    def seen(self, trim: int) -> NDArray[np.bool_]:
        """Return the pixels of the region outside the boundary band of width ``trim`` (0: none); all if none remain."""
        if not trim:
            return self.inside
        y0, x0, y1, x1 = self.box
        left = self.inside & ~self.frame.band(trim)[y0:y1, x0:x1]
        return left if left.any() else self.inside

    def classes(self, trim: int = 0) -> tuple[int, ...]:
        """Return the classes on the pixels of ``seen(trim)``, ascending; undefined is the ignore index."""
        return distinct(self.truth[self.seen(trim)])

    def rng(self, purpose: str) -> np.random.Generator:
        """Return a generator seeded by (seed, image, region, purpose), so that no other question changes its draws."""
        text = f"{self.seed}/{self.image_id}/{self.region_id}" + (f"/{purpose}" if purpose else "")
        return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


@dataclass(frozen=True)
class Answer:
    """The answer for one region, and its price."""

    classes: tuple[int, ...]
    """Classes in the answer, ascending; undefined is the ignore index."""
    pixels: int
    """Pixels that were asked about, undefined ones included: the region's, or the points of a pixel query."""
    clicks: int
    clicks_without_undefined: int
    seconds: float
    crop: NDArray[np.uint8] | None
    """Pixel-wise answer over the box, 255 outside the region and where undefined; None for answers without pixels."""
    seconds_model: str = ""
    """Source of ``seconds``: per_click, per_image, user_study, user_study_extrapolated."""
    choice: Literal["one", "all"] | None = None
    """The question about the region as a whole: its one main class, or all its classes; None for pixel-wise answers."""
    visible: tuple[int, ...] = ()
    """Where ``choice`` is set: the classes that the region shows, which determine the time."""


FormatFunction = Callable[[Question, Any], Answer]
OracleFunction = Callable[[Question, Callable[[Question], Answer], Any, np.random.Generator], Answer]


@dataclass(frozen=True)
class FormatTraits:
    """Traits of a query format."""

    cheapest: Callable[[Any], Mapping[str, float]]
    """Lower bounds of the price of one answer, by budget unit."""
    pixels: Literal["always", "one_class"] = "always"
    """Which answers have a label for every pixel: all, or those about regions of a single class."""
    whole_image: bool = False
    """Whether it asks about whole images."""
    choice: Literal["one", "all"] | None = None
    """The question about the region as a whole, as in `Answer`."""
    counts_pixels: bool = False
    """Whether an answer is about fewer pixels than its region has."""


@dataclass(frozen=True)
class OracleTraits:
    """Traits of an oracle."""

    needs_choice: bool = False
    """Whether it answers only formats about the region as a whole."""
    by_people: bool = False
    """Whether people answer: they are never asked twice, and no computation can replace their answers."""


FORMATS: Registry[FormatFunction, FormatTraits] = Registry("query", "tessera.queries.formats", FormatTraits)
"""Name → ``(question, params) -> Answer``: the answer of somebody who sees the truth of the question."""

ORACLES: Registry[OracleFunction, OracleTraits] = Registry("oracle", "tessera.queries.oracles", OracleTraits)
"""Name → ``(question, answer, params, rng) -> Answer``: who answers; may change the question before ``answer``."""


def ask(
    question: Question,
    query: tuple[str, Params | dict[str, Any] | str],
    oracle: tuple[str, Params | dict[str, Any] | str] = ("simulated", {}),
    seed: int = 0,
) -> Answer:
    """Put a question to an oracle in a query format; both are (name, parameters).

    Random draws depend on (seed, image, region) alone, so the answer does not depend on other questions in the job.
    BadInput: unknown names or parameters, or an oracle that does not answer this format.
    """
    form, form_params = FORMATS.entry(query[0]), _checked(FORMATS, *query)
    who, who_params = ORACLES.entry(oracle[0]), _checked(ORACLES, *oracle)
    asked = replace(question, seed=seed)
    return who.function(asked, lambda seen: form.function(seen, form_params), who_params, asked.rng(""))


def distinct(labels: NDArray[np.uint8]) -> tuple[int, ...]:
    """Return the values of an array, ascending."""
    return tuple(np.flatnonzero(np.bincount(labels.ravel())).tolist())


def _checked(registry: Registry[Any, Any], name: str, params: Params | dict[str, Any] | str) -> Params:
    return params if isinstance(params, Params) else registry.parameters(name, params)
