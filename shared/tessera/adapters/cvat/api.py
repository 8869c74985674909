"""Shapes and labels as CVAT's API has them: numbers of labels and attributes in place of names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tessera.adapters.cvat.shapes import CvatLabel, CvatShape
from tessera.errors import BadInput


@dataclass(frozen=True)
class CvatIds:
    """The numbers that a server has given to labels and their attributes."""

    labels: Mapping[str, int]
    attributes: Mapping[tuple[int, str], int]
    """By label's number and attribute's name."""

    @staticmethod
    def of(labels: Iterable[Mapping[str, Any]]) -> CvatIds:
        """Read labels as the API returns them."""
        found, attributes = {}, {}
        for one in labels:
            found[str(one["name"])] = int(one["id"])
            for attribute in one.get("attributes", ()):
                attributes[int(one["id"]), str(attribute["name"])] = int(attribute["id"])
        return CvatIds(found, attributes)

    def check(self, wanted: Iterable[CvatLabel], where: str) -> None:
        """Raise BadInput unless the server has these labels with these attributes."""
        for label in wanted:
            number = self.labels.get(label.name)
            missing = [one.name for one in label.attributes if (number, one.name) not in self.attributes]
            if number is None or missing:
                what = f"attribute {missing[0]!a} of label {label.name!a}" if missing else f"label {label.name!a}"
                raise BadInput(f"{where}: has no {what}; rename or delete it there, so that it is made anew")


def to_api(
    frames: Mapping[int, Iterable[CvatShape]], ids: CvatIds
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return shapes and tags by frame as ``LabeledShapeRequest`` and ``LabeledImageRequest``."""
    shapes, tags = list[dict[str, Any]](), list[dict[str, Any]]()
    for frame, drawn in frames.items():
        for one in drawn:
            label = ids.labels[one.label]
            said = [{"spec_id": ids.attributes[label, name], "value": value} for name, value in one.attributes.items()]
            base = {"label_id": label, "frame": frame, "source": one.source, "group": 0, "attributes": said}
            if one.kind == "tag":
                tags.append(base)
                continue
            points = [float(value) for value in one.points]
            more = {"type": one.kind, "points": points, "z_order": one.z_order, "occluded": False, "rotation": 0.0}
            shapes.append(base | more)
    return shapes, tags


def from_api(
    shapes: Iterable[Mapping[str, Any]], tags: Iterable[Mapping[str, Any]], ids: CvatIds
) -> dict[int, list[CvatShape]]:
    """Return shapes and tags by frame from ``LabeledShape`` and ``LabeledImage``.

    A label or attribute that the task does not have is named by its number, so that it is found to be foreign.
    """
    labels = {number: name for name, number in ids.labels.items()}
    attributes = {number: name for (_, name), number in ids.attributes.items()}
    found: dict[int, list[CvatShape]] = {}
    for one in (*shapes, *tags):
        said = {
            attributes.get(int(value["spec_id"]), str(value["spec_id"])): str(value["value"])
            for value in one.get("attributes") or ()
        }
        made = CvatShape(
            kind=str(one.get("type", "tag")),
            label=labels.get(int(one["label_id"]), str(one["label_id"])),
            points=tuple(float(value) for value in one.get("points") or ()),
            attributes=said,
            z_order=int(one.get("z_order", 0)),
            source=str(one.get("source", "manual")),
        )
        if made.kind == "rectangle" and float(one.get("rotation") or 0):
            # Its corners are not where its numbers are.
            made = CvatShape("turned rectangle", made.label, made.points, said, made.z_order, made.source)
        found.setdefault(int(one["frame"]), []).append(made)
    return found
