"""The labels of a round in CVAT: its classes, the region of a question, and the points that it asks about.

A question is a mask of label *region* with attributes, so that it survives to the pixel with holes and several parts,
and so that CVAT's attribute mode steps from question to question with one key per class. What the attributes are called
depends on the round's class names alone: the same round always gives the same names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tessera.adapters.cvat.shapes import CvatAttribute, CvatLabel
from tessera.adapters.tasks import ToolRound

OPEN: Final = "open"
DONE: Final = "done"
SKIP: Final = "skip"
ON: Final = "true"
OFF: Final = "false"
_REGION_COLOR: Final = 0xFFD400
_CLASS_KINDS: Final = {"raster": "any", "points": "points", "one": "tag", "all": "tag"}


@dataclass(frozen=True)
class CvatScheme:
    """Names and labels of a round."""

    labels: tuple[CvatLabel, ...]
    """Classes and undefined in the round's order, then region and, for query pixel, point."""
    classes: dict[str, int]
    """Class index, or ignore index, by label."""
    region: str
    point: str
    question: str
    """Attribute of regions and points: the question's id."""
    state: str
    """Attribute of regions: open, done or skip. Queries about one class have ``choice`` instead."""
    model: str
    """Attribute of regions: the classes that the model predicts there, with their shares. Nobody reads it back."""
    choice: str
    """Attribute of regions (query dominant) and points: the class."""
    unanswered: str
    """Value of ``choice`` before somebody chose."""
    skip: str
    """Value of ``choice`` that skips the question."""
    reason: str
    """Attribute of regions: why it was skipped."""


def scheme(round_: ToolRound) -> CvatScheme:
    """Return the labels of a round in CVAT."""
    names = [one.name for one in round_.labels]
    free = {name: _free(name, names) for name in ("region", "point", "question", "state", "model", "class", "reason")}
    unanswered, skip = _free("?", names), _free(SKIP, names)
    text = CvatAttribute(free["question"], "text", (), "")
    model = CvatAttribute(free["model"], "text", (), "")
    reason = CvatAttribute(free["reason"], "text", (), "", mutable=True)
    state = CvatAttribute(free["state"], "select", (OPEN, DONE, SKIP), OPEN, mutable=True)
    choice = CvatAttribute(free["class"], "select", (unanswered, *names), unanswered, mutable=True)
    shape = round_.shape
    asked: list[CvatAttribute] = [state]
    if shape == "one":
        asked = [CvatAttribute(free["class"], "select", (unanswered, *names, skip), unanswered, mutable=True)]
    elif shape == "all":
        asked = [*(CvatAttribute(name, "checkbox", (OFF,), OFF, mutable=True) for name in names), state]
    region = CvatLabel(
        free["region"], _color(one.color for one in round_.labels), "mask", (*asked, text, reason, model)
    )
    labels = [CvatLabel(one.name, one.color, _CLASS_KINDS[shape]) for one in round_.labels]
    labels.append(region)
    if shape == "points":
        labels.append(CvatLabel(free["point"], _color(one.color for one in labels), "points", (choice, text)))
    return CvatScheme(
        labels=tuple(labels),
        classes={one.name: one.value for one in round_.labels},
        region=free["region"],
        point=free["point"],
        question=free["question"],
        state=free["state"],
        model=free["model"],
        choice=free["class"],
        unanswered=unanswered,
        skip=skip,
        reason=free["reason"],
    )


def _free(name: str, taken: Iterable[str]) -> str:
    """Return the name, with as many underscores as keep it apart from those that are taken."""
    known = {one.casefold() for one in taken}
    while name.casefold() in known:
        name += "_"
    return name


def _color(taken: Iterable[str]) -> str:
    known, code = {one.casefold() for one in taken}, _REGION_COLOR
    while f"#{code:06x}" in known:
        code -= 1
    return f"#{code:06x}"


def raw_labels(labels: Iterable[CvatLabel]) -> list[dict[str, Any]]:
    """Return labels as CVAT's API and the box "Raw" of its label editor take them."""
    return [
        {
            "name": one.name,
            "color": one.color,
            "type": one.kind,
            "attributes": [
                {
                    "name": attribute.name,
                    "mutable": attribute.mutable,
                    "input_type": attribute.input_type,
                    "default_value": attribute.default,
                    "values": list(attribute.values),
                }
                for attribute in one.attributes
            ],
        }
        for one in labels
    ]
