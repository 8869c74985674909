"""Annotations of a tool as answers of people: pixels, classes and points in the image become what Tessera stores."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput
from tessera.formats.questions import DRAWING_BYTES, MAX_SECONDS
from tessera.pb.questions_pb2 import ClassesAnswer, PersonAnswer, PointsAnswer, RasterAnswer
from tessera.queries import drawing
from tessera.queries.given import Given, check, raster_to_runs

_NEAR: Final = 8.0
"""How far from the pixel that was asked about its mark may be, pixels."""
_MOST_UNITS: Final = 1 << 24
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9._@-]")


@dataclass(frozen=True)
class ToolReply:
    """What one person said about one question in a tool."""

    question_id: str
    annotator: str
    """As the tool names the person; `annotator_name` makes it one of ours."""
    tool: str
    """Name and version of the adapter: "label-studio/1"."""
    place: str
    """What names the annotation for ever: server, project, task, annotation."""
    changed: str
    """When it was last changed, as the tool says it: later states of an annotation have larger texts (ISO 8601)."""
    given: Given | None
    """None: skipped."""
    skipped: str = ""
    seconds: float = 0.0
    """Time that the tool measured for this annotation, earlier states included."""
    clicks: int = 0
    """The fewest clicks that give this answer: tools count none."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else the tool tells, kept with the answer: times, ids, shapes."""

    @property
    def answer_id(self) -> str:
        """Return the id of the answer: the same whenever this state of the annotation is read."""
        text = json.dumps([self.tool, self.place, self.question_id, self.changed])
        return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class Rejection:
    """An annotation that is no answer to a question, and why."""

    place: str
    reason: str


def answer(reply: ToolReply, round_: ToolRound, earlier_seconds: float = 0.0) -> PersonAnswer:
    """Return a reply as the answer that QuestionsService takes, or, of a skip, with ``skipped`` set.

    ``earlier_seconds``: the part of its time that an earlier state of the same annotation has brought already.
    """
    facts = {"place": reply.place, "changed": reply.changed, "seconds": reply.seconds, **reply.facts}
    kept = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    if len(kept) > DRAWING_BYTES:
        small = {"place": reply.place, "changed": reply.changed, "seconds": reply.seconds}
        kept = json.dumps(small, sort_keys=True, separators=(",", ":")).encode()
    made = PersonAnswer(
        answer_id=reply.answer_id,
        seconds=min(max(reply.seconds - earlier_seconds, 0.0), MAX_SECONDS),
        clicks=reply.clicks,
        page_version=reply.tool,
        drawing=kept,
    )
    if reply.given is None:
        made.skipped = reply.skipped.strip()[:500] or "skipped"
    elif reply.given.raster is not None:
        values, lengths = raster_to_runs(reply.given.raster)
        made.raster.CopyFrom(RasterAnswer(values=values, lengths=lengths))
    elif round_.shape == "points":
        made.points.CopyFrom(PointsAnswer(classes=reply.given.classes))
    else:
        made.classes.CopyFrom(ClassesAnswer(classes=reply.given.classes))
    return made


def earlier(said: PersonAnswer) -> tuple[str, float, str]:
    """Return place, time and last change of an answer that came from a tool; ("", 0, "") of any other."""
    try:
        facts = json.loads(said.drawing)
        return str(facts["place"]), float(facts["seconds"]), str(facts["changed"])
    except (ValueError, KeyError, TypeError):
        return "", 0.0, ""


def outcomes_told(counts: Mapping[str, int]) -> list[str]:
    """Return what became of answers, by outcome, as people read it: "3 counted", "1 not needed"."""
    return [f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items())]


def annotator_name(name: str) -> str:
    """Return the name under which a person of a tool answers: what ours cannot hold becomes "-"; BadInput if empty."""
    made = _NOT_A_NAME.sub("-", name.strip())[:64]
    if not made:
        raise BadInput("annotator: the tool does not say who answered; name the annotator")
    return made


def named(round_: ToolRound, task: ToolTask, names: Iterable[str]) -> Given:
    """Return the classes that were chosen by their labels; BadInput for a wrong number or a label that is none."""
    return _checked(Given(tuple(sorted({round_.value(name) for name in names}))), round_, task)


def painted(round_: ToolRound, task: ToolTask, shapes: Iterable[tuple[int, NDArray[np.bool_]]]) -> Given:
    """Return the raster of shapes that were drawn: (class index, mask of the box), in order; later ones lie on top.

    What lies outside the region, and what nobody drew on, teaches nothing: it has the ignore index. BadInput where
    nothing was drawn in the region.
    """
    raster, drawn = np.full(task.inside.shape, round_.ignore_index, np.uint8), np.zeros_like(task.inside)
    for value, mask in shapes:
        raster[mask & task.inside] = value
        drawn |= mask & task.inside
    if not drawn.any():
        raise BadInput("nothing is drawn inside the region; label its pixels, or skip the task")
    return _checked(Given((), raster), round_, task)


def marked(round_: ToolRound, task: ToolTask, marks: Iterable[tuple[int, float, float]]) -> Given:
    """Return the classes of the points that were asked about, from marks (class index, x, y in pixels of the image).

    A mark belongs to the nearest point, which is at most 8 pixels away. BadInput: a mark that is near none, a point
    with no mark, or with marks of different classes.
    """
    centres = np.array([(x + 0.5, y + 0.5) for y, x in task.points], np.float64).reshape(-1, 2)
    found: dict[int, int] = {}
    for value, x, y in marks:
        far = np.hypot(centres[:, 0] - x, centres[:, 1] - y)
        at = int(far.argmin()) if len(far) else -1
        if at < 0 or far[at] > _NEAR:
            raise BadInput(f"the mark at x {x:.1f}, y {y:.1f} is at none of the points; put it on one")
        if found.setdefault(at, value) != value:
            raise BadInput(f"the point at x {task.points[at][1]}, y {task.points[at][0]} has two classes; remove one")
    open_ = [point for at, point in enumerate(task.points) if at not in found]
    if open_:
        raise BadInput(f"the point at x {open_[0][1]}, y {open_[0][0]} has no class; mark every point")
    return _checked(Given(tuple(found[at] for at in range(len(task.points)))), round_, task)


def polygon_mask(task: ToolTask, loops: Sequence[ArrayLike]) -> NDArray[np.bool_]:
    """Return which pixels of the box closed loops (n, 2) of x, y cover together, by the even-odd rule.

    Coordinates are pixels of the image and are rounded to sixteenths, as the labelling page does
    (`tessera.queries.drawing`). BadInput for a loop of fewer than three corners, or one that is nowhere near an image.
    """
    mask = np.zeros(task.inside.shape, np.bool_)
    for loop in loops:
        corners = np.asarray(loop, np.float64)
        if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
            raise BadInput("a polygon has fewer than three corners; draw it again")
        if not np.isfinite(corners).all() or np.abs(corners).max() * drawing.UNIT > _MOST_UNITS:
            raise BadInput("a polygon lies far outside its image; draw it again")
        units = np.rint(corners * drawing.UNIT).astype(np.int64)
        mask ^= drawing.polygon([(int(x), int(y)) for x, y in units.tolist()], task.box)
    return mask


def crop(task: ToolTask, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cut the box out of a mask of the whole image; BadInput where it has another size."""
    if mask.shape != (task.height, task.width):
        raise BadInput(
            f"a mask is {mask.shape[1]}×{mask.shape[0]} pixels and its image {task.width}×{task.height}; "
            "label the image in its own size"
        )
    y0, x0, y1, x1 = task.box
    cut: NDArray[np.bool_] = mask[y0:y1, x0:x1]
    return cut


def _checked(given: Given, round_: ToolRound, task: ToolTask) -> Given:
    check(given, round_.query, len(round_.labels) - 1, round_.ignore_index, len(task.points))
    return given
