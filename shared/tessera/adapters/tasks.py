"""Questions as a tool sees them: the region in coordinates of its image, and the names of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput, nearest
from tessera.formats import images
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.questions_pb2 import PersonQuestion, QuestionRound
from tessera.queries.drawing import Box
from tessera.queries.given import runs_to_mask, shape_of
from tessera.regions.geometry import Polygon, outlines

KEYS: Final = "123456789qwertiasdgjlzxc"
"""Keys of the classes, as on the labelling page; undefined has "0", further classes have none."""
_UNDEFINED_COLOR: Final = "#9aa3ad"
_BLACK: Final = "#000000"


@dataclass(frozen=True)
class ToolLabel:
    """One possible answer, as a tool offers it. Name and colour are the only ones of their kind in a round."""

    value: int
    """Class index, or the ignore index for undefined."""
    name: str
    color: str
    """"#rrggbb", never black: tools give that to what nobody labelled."""
    key: str
    """Key that chooses it; empty: none."""


@dataclass(frozen=True)
class ToolRound:
    """What the questions of a round share."""

    key: str
    run_id: str
    """The first of the runs that wait for it."""
    round: int
    query: str
    labels: tuple[ToolLabel, ...]
    """The classes in the order of their indices, and at last undefined."""
    ignore_index: int
    overlap: int
    dataset: str

    @staticmethod
    def of(round_: QuestionRound) -> ToolRound:
        """Read a round as QuestionsService returns it."""
        return ToolRound(
            key=round_.key,
            run_id=round_.run_ids[0] if round_.run_ids else "",
            round=round_.round,
            query=round_.query.name,
            labels=tuple(_labels(round_)),
            ignore_index=round_.ignore_index,
            overlap=max(round_.overlap, 1),
            dataset=round_.dataset_name,
        )

    @property
    def shape(self) -> str:
        """Return what answers hold: one, all, points or raster (`tessera.queries.given.shape_of`)."""
        return shape_of(self.query)

    def value(self, name: str) -> int:
        """Return the class index of a label's name, or the ignore index; BadInput for a name that is none."""
        for one in self.labels:
            if one.name == name:
                return one.value
        known = [one.name for one in self.labels]
        raise BadInput(f"label {name[:80]!a}: is no class of data set {self.dataset}; {nearest(name, known)}")

    def name(self, value: int) -> str:
        """Return the label of a class index; undefined for everything that is no class."""
        return next((one.name for one in self.labels[:-1] if one.value == value), self.labels[-1].name)


def _labels(round_: QuestionRound) -> Iterator[ToolLabel]:
    names, colors = set[str](), {_BLACK}
    classes = sorted(round_.classes, key=lambda one: one.index)
    given = [(one.index, one.name.strip() or f"class {one.index}", one.color) for one in classes]
    for at, (value, name, color) in enumerate([*given, (round_.ignore_index, "undefined", _UNDEFINED_COLOR)]):
        key = "0" if at == len(given) else KEYS[at : at + 1]
        yield ToolLabel(value, _fresh_name(name, names), _fresh_color(color or _UNDEFINED_COLOR, colors), key)


def _fresh_name(name: str, taken: set[str]) -> str:
    made, number = name, 2
    while made.casefold() in taken:
        made, number = f"{name} {number}", number + 1
    taken.add(made.casefold())
    return made


def _fresh_color(color: str, taken: set[str]) -> str:
    """Return the colour, or the next in the order of their codes that no other label has."""
    code = int(color[1:], 16)
    while (made := f"#{code:06x}") in taken:
        code = (code + 1) % (1 << 24)
    taken.add(made)
    return made


@dataclass(frozen=True, eq=False)
class ToolTask:
    """One question, as a tool sees it. Everything is in pixels of the image, with (0, 0) its upper left corner."""

    question_id: str
    rank: int
    image_id: str
    image: ObjectRef
    height: int
    width: int
    box: Box
    """Half-open: y0, x0, y1, x1."""
    inside: NDArray[np.bool_]
    """(y1 - y0, x1 - x0): which pixels of the box are the region."""
    points: tuple[tuple[int, int], ...]
    """Query pixel only: y, x of the pixels that are asked about."""
    prediction: NDArray[np.uint8] | None
    """(y1 - y0, x1 - x0) class index by the model that chose the question; None without a model."""

    @staticmethod
    def of(question: PersonQuestion, prediction: bytes | None = None) -> ToolTask:
        """Read a question as QuestionsService returns it; ``prediction``: the PNG that it refers to.

        BadInput: a region that is empty or does not fit its box, a prediction of another size.
        """
        box = question.box.y0, question.box.x0, question.box.y1, question.box.x1
        height, width = box[2] - box[0], box[3] - box[1]
        inside = runs_to_mask(question.region.counts, height, width)
        if not inside.any():
            raise BadInput(f"question {question.question_id}: its region has no pixel")
        plane = None
        if prediction is not None:
            plane = images.decode_labels(prediction, question.prediction.key, shape=(height, width))
        return ToolTask(
            question_id=question.question_id,
            rank=question.rank,
            image_id=question.image_id,
            image=question.image,
            height=question.image_height,
            width=question.image_width,
            box=box,
            inside=inside,
            points=tuple((one.y, one.x) for one in question.points),
            prediction=plane,
        )

    def outlines(self) -> list[Polygon]:
        """Return the region's outlines along the edges of its pixels, each (n, 2) int32 x, y in the image.

        Together, by the even-odd rule, they cover exactly the region: holes and further parts have loops of their own.
        """
        return outline(self.inside, self.box)

    def predicted(self) -> list[tuple[int, NDArray[np.bool_]]]:
        """Return the predicted classes of the region and their pixels in the box, the most frequent class first."""
        if self.prediction is None:
            return []
        votes = np.bincount(self.prediction[self.inside])
        order = sorted(np.flatnonzero(votes).tolist(), key=lambda value: (-votes[value], value))
        return [(value, self.inside & (self.prediction == value)) for value in order]

    def shares(self) -> dict[int, float]:
        """Return the share of the region's pixels that the model gives to each class, the largest first."""
        whole = int(np.count_nonzero(self.inside))
        return {value: int(np.count_nonzero(mask)) / whole for value, mask in self.predicted()}

    def in_image(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask of the box as one of the whole image, (H, W)."""
        y0, x0, y1, x1 = self.box
        whole = np.zeros((self.height, self.width), np.bool_)
        whole[y0:y1, x0:x1] = mask
        return whole


def outline(mask: NDArray[np.bool_], box: Box) -> list[Polygon]:
    """Trace a mask of a box along its pixel edges: loops of corners (n, 2) int32 x, y in the image; none if empty.

    The even-odd rule over all loops gives the mask back.
    """
    if not mask.any():
        return []
    corner = np.array([box[1], box[0]], np.int32)
    return [loop + corner for loop in outlines((~mask).astype(np.int32), [0])[0]]
