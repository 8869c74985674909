"""Label Studio's export (JSON) as replies: each submitted or skipped annotation is one, or is named with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tessera.adapters import replies
from tessera.adapters.label_studio import TOOL, config, rle
from tessera.adapters.replies import Rejection, ToolReply
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput
from tessera.queries.given import Given

Lookup = Callable[[str], tuple[ToolRound, ToolTask]]
"""A question's id → its round and task; BadInput, with a reason, for a question that takes no answer."""
_SHOWN: Final = (config.REGION, config.POINTS)
_BROKEN: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def parsed(data: bytes, name: str) -> list[Mapping[str, Any]]:
    """Return the tasks of an export file; BadInput where it is none."""
    try:
        found = json.loads(data)
    except ValueError:
        raise BadInput(f"{name}: is no JSON; export the project from Label Studio in the format JSON") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) and "data" in one for one in found):
        raise BadInput(f"{name}: is no export of Label Studio; choose the format JSON, not JSON-MIN or another")
    return found


def question_of(task: Mapping[str, Any]) -> str:
    """Return the id of the question that a task asks; empty where it is none of Tessera's."""
    data = task.get("data")
    found = data.get("question") if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""


def read(
    tasks: Iterable[Mapping[str, Any]], lookup: Lookup, people: Mapping[int, str]
) -> tuple[list[ToolReply], list[Rejection]]:
    """Return what people said in the tasks of an export, by time, and what cannot be used, with reasons.

    ``people``: the ids of Label Studio's users → their names; others are called label-studio-user-ID.
    """
    said, rejected = list[ToolReply](), list[Rejection]()
    for task in tasks:
        where = f"task {task.get('id', '?')}"
        try:
            annotations = _annotations(task)
            round_, asked = lookup(_known_question(task))
        except BadInput as error:
            rejected.append(Rejection(where, str(error)))
            continue
        found = list[ToolReply]()
        for one in annotations:
            try:
                found.append(_reply(one, task, round_, asked, people))
            except BadInput as error:
                rejected.append(Rejection(f"{where} annotation {one.get('id', '?')}", str(error)))
            except _BROKEN as error:
                reason = f"is no annotation that this adapter reads ({type(error).__name__}: {error})"
                rejected.append(Rejection(f"{where} annotation {one.get('id', '?')}", reason))
        last = {one.annotator: one for one in sorted(found, key=lambda one: one.changed)}
        said += last.values()
        rejected += [
            Rejection(f"{where} annotation {one.facts['annotation']}", f"{one.annotator} has a later one of this task")
            for one in found
            if one is not last[one.annotator]
        ]
    return sorted(said, key=lambda one: one.changed), rejected


def _known_question(task: Mapping[str, Any]) -> str:
    found = question_of(task)
    if not found:
        raise BadInput("names no question in its data; it is no task of Tessera")
    return found


def _annotations(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = task.get("annotations")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadInput("lists no annotations; export the project in the format JSON")
    if not found:
        drafts = task.get("drafts")
        raise BadInput("has only a draft; submit it" if drafts else "has no annotation yet")
    return found


def _reply(
    one: Mapping[str, Any], task: Mapping[str, Any], round_: ToolRound, asked: ToolTask, people: Mapping[int, str]
) -> ToolReply:
    shapes = [shape for shape in one["result"] if shape.get("from_name") not in _SHOWN]
    skipped = bool(one.get("was_cancelled"))
    given = None if skipped else _given(shapes, round_, asked)
    changed = str(one.get("updated_at") or one.get("created_at") or "")
    unique = one.get("unique_id") or f"project {task.get('project')} task {task.get('id')} annotation {one['id']}"
    return ToolReply(
        question_id=asked.question_id,
        annotator=_person(one.get("completed_by"), people),
        tool=TOOL,
        place=str(unique),
        changed=changed,
        given=given,
        skipped="skipped in Label Studio" if skipped else "",
        seconds=max(float(one.get("lead_time") or 0.0), 0.0),
        clicks=sum(_clicks(shape) for shape in shapes),
        facts={
            "project": task.get("project"),
            "task": task.get("id"),
            "annotation": one["id"],
            "created": one.get("created_at"),
            "shapes": shapes,
        },
    )


def _person(who: Any, people: Mapping[int, str]) -> str:
    """Return the name of who completed an annotation: exports give an id, or a record with an address."""
    if isinstance(who, dict):
        return str(who.get("email") or people.get(who.get("id", -1)) or f"label-studio-user-{who.get('id')}")
    if isinstance(who, int):
        return people.get(who, f"label-studio-user-{who}")
    raise BadInput("does not say who completed it")


def _given(shapes: list[Mapping[str, Any]], round_: ToolRound, asked: ToolTask) -> Given:
    if round_.shape in ("one", "all"):
        chosen = [name for shape in shapes for name in shape["value"].get("choices", ())]
        if not chosen:
            raise BadInput("no class is chosen; choose one, or skip the task")
        return replies.named(round_, asked, chosen)
    for shape in shapes:
        _check_size(shape, asked)
    if round_.shape == "points":
        marks = [(_value(shape, round_), *_place(shape, asked)) for shape in shapes]
        return replies.marked(round_, asked, marks)
    return replies.painted(round_, asked, _painted(shapes, round_, asked))


def _painted(
    shapes: list[Mapping[str, Any]], round_: ToolRound, asked: ToolTask
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    for shape in shapes:
        value, drawn = shape["value"], _value(shape, round_)
        match shape["type"]:
            case "brushlabels":
                if value.get("format") != "rle":
                    raise BadInput(f"its brush mask has the format {value.get('format')!r}; only rle is read")
                yield drawn, replies.crop(asked, rle.decode(value["rle"], asked.height, asked.width))
            case "polygonlabels":
                corners = np.asarray(value["points"], np.float64).reshape(-1, 2)
                yield drawn, replies.polygon_mask(asked, [corners * (asked.width / 100.0, asked.height / 100.0)])
            case other:
                raise BadInput(f"it holds a shape of type {other!r}; draw with the brush or polygons")


def _value(shape: Mapping[str, Any], round_: ToolRound) -> int:
    """Return the class of a shape, which has exactly one label."""
    names = shape["value"].get(shape["type"]) or []
    if len(names) != 1:
        raise BadInput(f"a shape has {len(names)} labels; give each exactly one")
    return round_.value(str(names[0]))


def _place(shape: Mapping[str, Any], asked: ToolTask) -> tuple[float, float]:
    value = shape["value"]
    return float(value["x"]) * asked.width / 100.0, float(value["y"]) * asked.height / 100.0


def _check_size(shape: Mapping[str, Any], asked: ToolTask) -> None:
    size = shape.get("original_height", asked.height), shape.get("original_width", asked.width)
    if size != (asked.height, asked.width):
        raise BadInput(
            f"it was drawn on an image of {size[1]}×{size[0]} pixels, and {asked.image_id} has "
            f"{asked.width}×{asked.height}; show the image in its own size"
        )
    if shape.get("image_rotation"):
        raise BadInput(f"its image is turned by {shape['image_rotation']}°; turn it back")


def _clicks(shape: Mapping[str, Any]) -> int:
    """Return the fewest clicks that make a shape: Label Studio counts none. A prediction left as it is costs none."""
    if shape.get("origin") == "prediction":
        return 0
    value = shape["value"]
    match shape.get("type"):
        case "choices":
            return len(value.get("choices", ()))
        case "polygonlabels":
            return 1 + len(value.get("points", ()))
        case _:
            return 2
