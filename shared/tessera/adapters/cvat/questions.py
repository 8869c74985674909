"""A round's questions as images of a CVAT task, and the shapes that come back as answers.

An image of the data set is one image of the task, however many of its regions are asked about: its picture travels
once, and people see the neighbours of a region. What they draw answers a question where it lies in its region.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from tessera.adapters.cvat.scheme import DONE, OFF, ON, OPEN, SKIP, CvatScheme, scheme
from tessera.adapters.cvat.shapes import AREAS, CvatImage, CvatShape, covered, layers, mask_shape
from tessera.adapters.replies import Rejection, ToolReply, marked, named, painted
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput
from tessera.queries.given import Given

TOOL: Final = "cvat/1"
_EXTENSIONS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/bmp": "bmp"}


def image_name(task: ToolTask) -> str:
    """Return the name of the question's image in CVAT: its id, with the ending that its media type has."""
    return f"{task.image_id}.{_EXTENSIONS.get(task.image.media_type, 'png')}"


def images_of(round_: ToolRound, tasks: Sequence[ToolTask]) -> list[CvatImage]:
    """Return the images of a round, in the order of their first questions, with regions and starting points drawn.

    Under everything lie the regions; on them, where pixels are asked for, what the model predicts, as shapes of source
    ``auto``. Queries that name classes start unanswered, and the prediction stands beside them as text.
    """
    names, by_image = scheme(round_), dict[str, list[ToolTask]]()
    for task in sorted(tasks, key=lambda one: one.rank):
        by_image.setdefault(task.image_id, []).append(task)
    return [
        CvatImage(
            image_name(mine[0]),
            mine[0].width,
            mine[0].height,
            tuple(shape for task in mine for shape in _asked(round_, names, task)),
        )
        for mine in by_image.values()
    ]


def _asked(round_: ToolRound, names: CvatScheme, task: ToolTask) -> Iterator[CvatShape]:
    corner = task.box[:2]
    # All attributes, also those at their defaults: CVAT adds none to shapes that are imported.
    label = next(one for one in names.labels if one.name == names.region)
    said = {one.name: one.default for one in label.attributes}
    shares = [f"{round_.name(value)} {share:.0%}" for value, share in task.shares().items()]
    said |= {names.question: task.question_id, names.model: ", ".join(shares[:3])}
    yield CvatShape("mask", names.region, mask_shape(task.inside, corner), said, 0, "file")
    if round_.shape == "points":
        for y, x in task.points:
            about = {names.choice: names.unanswered, names.question: task.question_id}
            yield CvatShape("points", names.point, (x + 0.5, y + 0.5), about, 1, "file")
    elif round_.shape == "raster":
        for value, mask in task.predicted():
            yield CvatShape("mask", round_.name(value), mask_shape(mask, corner), {}, 1, "auto")


@dataclass(frozen=True)
class CvatSource:
    """Where images with shapes come from."""

    place: str
    """What names it for ever: "round KEY" of files, server and job of a job."""
    annotator: str
    changed: str
    """When it was last changed or exported, so that a later time sorts behind an earlier one."""
    finished: bool
    """Whether its people have said that they are done with all of it, so that questions need not be marked."""
    bare: bool = False
    """Whether it holds areas alone, without regions and attributes (`masks_zip`)."""


def replies(
    round_: ToolRound,
    tasks: Sequence[ToolTask],
    images: Sequence[CvatImage],
    source: CvatSource,
    expected: Container[str] | None = None,
) -> tuple[list[ToolReply], list[Rejection]]:
    """Return the answers to the questions about these images, in rank order, and what is none, with the reason.

    ``tasks`` are all questions of the round; ``expected`` are the ids of those that CVAT was given (None: all): others
    are read only where their region is there, and are not missed.

    A question is answered once at most, and nothing of an image is dropped silently: a label of another task, a shape
    that covers no pixels, a question that is open, changed, copied or unknown is named.
    """
    names, found, wrong = scheme(round_), list[ToolReply](), list[Rejection]()
    by_image: dict[str, list[ToolTask]] = {}
    for task in sorted(tasks, key=lambda one: one.rank):
        by_image.setdefault(task.image_id, []).append(task)
    known = image_ids(tasks)
    seen: dict[str, CvatImage] = {}
    for image in images:
        place = f"{source.place}, image {image.name[:120]!a}"
        image_id = known.get(image.name) or known.get(PurePosixPath(image.name).name) or ""
        mine = by_image.get(image_id, [])
        reason = _foreign(image, mine, names, image_id in seen)
        if reason:
            wrong.append(Rejection(place, reason))
            continue
        seen[image_id] = image
        there = set() if source.bare else set(_regions(image, names))
        strangers = there - {one.question_id for one in mine}
        wrong += [Rejection(place, f"{_shown(one)}: no such question in this round") for one in sorted(strangers)]
        for task in mine:
            if expected is not None and task.question_id not in expected and task.question_id not in there:
                continue
            try:
                found.append(_reply(_Asked(round_, names, task, image, len(mine)), source))
            except BadInput as error:
                wrong.append(Rejection(f"{place}, question {task.rank}", str(error)))
    return sorted(found, key=lambda one: int(one.question_id.rpartition(".")[2])), wrong


def image_ids(tasks: Sequence[ToolTask]) -> dict[str, str]:
    """Return image ids by the names that an image may have in CVAT: ours, its id, its key in the store."""
    known: dict[str, str] = {}
    for task in tasks:
        known |= {task.image.key: task.image_id, task.image_id: task.image_id, image_name(task): task.image_id}
    return known


def _foreign(image: CvatImage, mine: Sequence[ToolTask], names: CvatScheme, again: bool) -> str:
    """Return why an image as a whole cannot be read; empty where it can."""
    if not mine:
        return "no question of this round asks about it; give the round that it was exported from"
    if again:
        return "comes twice; give each image once"
    if (image.height, image.width) != (mine[0].height, mine[0].width):
        return f"is {image.width}×{image.height} pixels, the data set's {mine[0].width}×{mine[0].height}"
    for shape in image.shapes:
        if shape.label in (names.region, names.point):
            continue
        if shape.label not in names.classes:
            return f"label {shape.label[:80]!a} is none of this round; remove its shapes or name them by a class"
        if shape.kind not in (*AREAS, "points", "tag"):
            return f"{shape.kind} of label {shape.label[:80]!a}: is not read; draw a mask, polygon or rectangle"
    return ""


def _shown(question: str) -> str:
    return f"question {question[:80]!a}" if question else "a region without its question"


def _regions(image: CvatImage, names: CvatScheme) -> dict[str, list[CvatShape]]:
    found: dict[str, list[CvatShape]] = {}
    for shape in image.shapes:
        if shape.label == names.region:
            found.setdefault(shape.attributes.get(names.question, ""), []).append(shape)
    return found


@dataclass(frozen=True)
class _Asked:
    """One question with the image that shows its answer."""

    round_: ToolRound
    names: CvatScheme
    task: ToolTask
    image: CvatImage
    together: int
    """Questions about the same image."""

    def region(self) -> CvatShape:
        """Return the mask of the region; BadInput where it is gone, copied or redrawn."""
        mine = _regions(self.image, self.names).get(self.task.question_id, [])
        if len(mine) != 1:
            raise BadInput(
                f"its region is there {len(mine)} times; delete the copies" if mine else
                f"its shape of label {self.names.region} is deleted; import the round's annotations again"
            )  # fmt: skip
        shape, task = mine[0], self.task
        whole = (0, 0, task.height, task.width)
        if shape.kind != "mask" or not np.array_equal(covered(shape, whole), task.in_image(task.inside)):
            raise BadInput("its region was redrawn, so that another question is answered; import it again")
        return shape


def _reply(asked: _Asked, source: CvatSource) -> ToolReply:
    """Return the answer to one question; BadInput says why there is none."""
    names, round_ = asked.names, asked.round_
    if source.bare and round_.shape != "raster":
        raise BadInput(f"query {round_.query} is answered in attributes, which masks do not have; give CVAT for images")
    region = CvatShape("mask", names.region) if source.bare else asked.region()
    said = region.attributes
    state = said.get(names.state, OPEN) if round_.shape != "one" else said.get(names.choice, names.unanswered)
    skipped = state == (names.skip if round_.shape == "one" else SKIP)
    given, clicks, shapes = (None, 0, []) if skipped else _given(asked, region, state == DONE or source.finished)
    reason = (said.get(names.reason) or "").strip()[:500]
    return ToolReply(
        question_id=asked.task.question_id,
        annotator=source.annotator,
        tool=TOOL,
        place=source.place,
        changed=f"{source.changed} {_digest(given)}",
        given=given,
        skipped=(reason or "skipped in CVAT") if skipped else "",
        clicks=clicks,
        facts={"image": asked.image.name, "shapes": shapes},
    )


def _digest(given: Given | None) -> str:
    """Return what tells one state of an answer from another: CVAT keeps times of jobs, not of shapes."""
    made = hashlib.sha256(repr(given.classes if given is not None else "skipped").encode())
    if given is not None and given.raster is not None:
        made.update(given.raster.tobytes())
    return made.hexdigest()[:32]


def _given(asked: _Asked, region: CvatShape, done: bool) -> tuple[Given, int, list[dict[str, object]]]:
    """Return the answer, the fewest clicks that give it, and the shapes that are kept with it."""
    round_, names, task, shape = asked.round_, asked.names, asked.task, asked.round_.shape
    if shape in ("one", "all"):
        chosen = _chosen(asked, region)
        tags = [one.label for one in asked.image.shapes if one.kind == "tag"]
        if not chosen and tags:
            if asked.together > 1:
                raise BadInput(f"tags cannot tell {asked.together} regions apart; answer in the region's attributes")
            chosen, done = tags, True
        if not chosen:
            raise BadInput("names no class yet; choose one in the attributes of its region")
        if shape == "all" and not done:
            raise BadInput(f"is not marked {DONE}; set {names.state}, or say that the whole file is finished")
        given = named(round_, task, chosen)
        return given, len(given.classes), []
    if not done:
        raise BadInput(f"is not marked {DONE}; set {names.state}, or say that the whole file is finished")
    if shape == "points":
        given = marked(round_, task, _marks(asked))
        return given, len(given.classes), []
    areas = list(layers(asked.image.shapes, names.classes, task.box))
    mine = [one for one in asked.image.shapes if one.kind in AREAS and one.label in names.classes]
    kept = [one for one in mine if (covered(one, task.box) & task.inside).any()]
    clicks = sum(_clicks(one) for one in kept if one.source != "auto")
    return painted(round_, task, areas), clicks, [
        {"kind": one.kind, "label": one.label, "source": one.source, "points": list(one.points)}
        for one in kept if one.kind != "mask"
    ]  # fmt: skip


def _chosen(asked: _Asked, region: CvatShape) -> list[str]:
    names, said = asked.names, region.attributes
    if asked.round_.shape == "all":
        return [name for name in names.classes if said.get(name, OFF).lower() == ON]
    choice = said.get(names.choice, names.unanswered)
    return [] if choice == names.unanswered else [choice]


def _marks(asked: _Asked) -> Iterator[tuple[int, float, float]]:
    """Yield class index and place of every point of this question that has a class."""
    names, task = asked.names, asked.task
    y0, x0, y1, x1 = task.box
    for shape in asked.image.shapes:
        if shape.kind != "points":
            continue
        about = shape.attributes.get(names.question)
        label = shape.attributes.get(names.choice, "") if shape.label == names.point else shape.label
        for x, y in zip(shape.points[::2], shape.points[1::2], strict=True):
            inside = x0 <= x < x1 and y0 <= y < y1 and bool(task.inside[int(y) - y0, int(x) - x0])
            mine = about == task.question_id if about is not None else inside
            if mine and label and label != names.unanswered:
                yield asked.round_.value(label), x, y


def _clicks(shape: CvatShape) -> int:
    return {"polygon": len(shape.points) // 2, "rectangle": 2}.get(shape.kind, 1)
