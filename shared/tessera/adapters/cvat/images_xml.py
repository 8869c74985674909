"""CVAT for images 1.1: labels, images, shapes and tags as ``annotations.xml``, written and read.

https://docs.cvat.ai/docs/manual/advanced/xml_format/, and CVAT's own writer and reader
(cvat/apps/dataset_manager/formats/cvat.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, indent, tostring
from xml.parsers import expat

from tessera.adapters.cvat.shapes import CvatAttribute, CvatImage, CvatLabel, CvatShape
from tessera.errors import BadInput

_BOXES: Final = {"box": "rectangle"}
_KINDS: Final = ("mask", "polygon", "box", "points", "polyline", "ellipse", "cuboid", "skeleton", "tag")
_DECLARATION: Final = '<?xml version="1.0" encoding="utf-8"?>\n'
_CORNERS: Final = ("xtl", "ytl", "xbr", "ybr")

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class CvatDocument:
    """The content of one ``annotations.xml``."""

    labels: tuple[CvatLabel, ...]
    images: tuple[CvatImage, ...]
    name: str = ""
    """Of the task."""
    source: str = ""
    """What the file was exported from: "task 7", "job 3", "project 1"; empty where it does not say."""
    assignee: str = ""
    """Who works on it, as CVAT names the person; empty where it does not say."""
    dumped: str = ""
    """When it was exported, as CVAT writes it; empty where it does not say."""


def write(document: CvatDocument) -> bytes:
    """Return the XML of a task. BadInput for a text that XML cannot hold, naming it."""
    root = Element("annotations")
    _child(root, "version", "1.1")
    task = SubElement(SubElement(root, "meta"), "task")
    count = len(document.images)
    for name, text in (
        ("name", document.name), ("size", str(count)), ("mode", "annotation"), ("overlap", "0"),
        ("start_frame", "0"), ("stop_frame", str(max(count - 1, 0))),
    ):  # fmt: skip
        _child(task, name, text)
    if document.assignee:
        _child(SubElement(task, "assignee"), "username", document.assignee)
    labels = SubElement(task, "labels")
    for label in document.labels:
        _write_label(labels, label)
    for number, image in enumerate(document.images):
        at = {"id": str(number), "name": image.name, "width": str(image.width), "height": str(image.height)}
        element = SubElement(root, "image", {name: _text(value) for name, value in at.items()})
        # Shapes before tags, as CVAT itself writes them.
        for shape in sorted(image.shapes, key=lambda one: one.kind == "tag"):
            _write_shape(element, shape)
    indent(root)
    return f"{_DECLARATION}{tostring(root, 'unicode')}\n".encode()


def _child(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = _text(text)


def _text(text: str) -> str:
    if not all(letter.isprintable() or letter == "\n" for letter in text):
        raise BadInput(f"{text[:80]!a}: holds characters that XML cannot; rename it")
    return text


def _write_label(parent: Element, label: CvatLabel) -> None:
    element = SubElement(parent, "label")
    for name, text in (("name", label.name), ("color", label.color), ("type", label.kind)):
        _child(element, name, text)
    attributes = SubElement(element, "attributes")
    for one in label.attributes:
        if any("\n" in value for value in one.values):
            raise BadInput(f"attribute {one.name!a}: a value has two lines; CVAT separates values by lines")
        made = SubElement(attributes, "attribute")
        for name, text in (
            ("name", one.name), ("mutable", str(one.mutable)), ("input_type", one.input_type),
            ("default_value", one.default), ("values", "\n".join(one.values)),
        ):  # fmt: skip
            _child(made, name, text)


def _write_shape(parent: Element, shape: CvatShape) -> None:
    at = {"label": shape.label, "source": shape.source}
    if shape.kind != "tag":
        at["occluded"] = "0"
        at |= _write_points(shape)
        at["z_order"] = str(shape.z_order)
    tag = {kind: tag for tag, kind in _BOXES.items()}.get(shape.kind, shape.kind)
    element = SubElement(parent, tag, {name: _text(value) for name, value in at.items()})
    for name, value in shape.attributes.items():
        made = SubElement(element, "attribute", {"name": _text(name)})
        made.text = _text(value)


def _write_points(shape: CvatShape) -> dict[str, str]:
    if shape.kind == "mask":
        *runs, left, top, right, bottom = (int(value) for value in shape.points)
        box = {"left": left, "top": top, "width": right - left + 1, "height": bottom - top + 1}
        return {"rle": ", ".join(map(str, runs)), **{name: str(value) for name, value in box.items()}}
    # Hundredths of a pixel, as CVAT writes them: a multiple of a sixteenth is the nearest one to its rounded value.
    numbers = [f"{value:.2f}" for value in shape.points]
    if shape.kind == "rectangle":
        return dict(zip(_CORNERS, numbers, strict=True))
    return {"points": ";".join(f"{x},{y}" for x, y in zip(numbers[::2], numbers[1::2], strict=True))}


def read(data: bytes, name: str) -> CvatDocument:
    """Read an ``annotations.xml`` that CVAT or another tool wrote; ``name`` names it in errors.

    BadInput: no XML, no "CVAT for images" (tracks), an entity or document type (never in such files), a number that is
    none. Shapes of kinds that cover no pixels are kept without their numbers.
    """
    root = _parse(data, name)
    if root.tag != "annotations":
        raise BadInput(f"{name}: its root is <{root.tag[:40]}>, not <annotations>; export as CVAT for images 1.1")
    if root.find("track") is not None:
        raise BadInput(f"{name}: has tracks of a video; export as CVAT for images 1.1")
    meta = root.find("meta")
    holder = next((one for one in meta if one.tag in ("task", "job", "project")), None) if meta is not None else None
    labels: dict[str, CvatLabel] = {}
    dumped = (root.findtext("meta/dumped") or "").strip()
    source = assignee = title = ""
    if holder is not None:
        title, number = holder.findtext("name", "").strip(), holder.findtext("id", "").strip()
        source = f"{holder.tag} {number}" if number else ""
        assignee = (holder.findtext("assignee/username") or holder.findtext(".//assignee/username") or "").strip()
        labels = {one.name: one for one in (_label(element) for element in holder.iterfind(".//labels/label"))}
    images = tuple(_image(element, name) for element in root.iterfind("image"))
    return CvatDocument(tuple(labels.values()), images, title, source, assignee, dumped)


def _parse(data: bytes, name: str) -> Element:
    """Build the tree of an XML text without a document type: entities could be made to grow without end."""

    def refuse(*_: object) -> None:
        raise BadInput(f"{name}: has a document type; CVAT writes none")

    def declared(_: str, encoding: str | None, __: int) -> None:
        if (encoding or "utf-8").lower() not in ("utf-8", "us-ascii"):
            raise BadInput(f"{name}: its encoding is {encoding!a}; write it in UTF-8")

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.XmlDeclHandler = refuse, declared
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler, parser.buffer_text = builder.data, True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadInput(f"{name}: is no XML: {error}; give the annotations.xml of CVAT") from None
    root: Element = builder.close()
    return root


def _label(element: Element) -> CvatLabel:
    attributes = tuple(
        CvatAttribute(
            name=one.findtext("name", ""),
            input_type=one.findtext("input_type", "text"),
            values=tuple(text.split("\n")) if (text := one.findtext("values")) else (),
            default=one.findtext("default_value") or "",
            mutable=one.findtext("mutable", "").lower() == "true",
        )
        for one in element.iterfind("attributes/attribute")
    )
    name, color = element.findtext("name", ""), element.findtext("color", "")
    return CvatLabel(name, color, element.findtext("type", "any"), attributes)


def _image(element: Element, name: str) -> CvatImage:
    title = element.get("name", "")
    where = f"{name}: image {title[:80]!a}"
    width, height = (_number(element, side, where, int) for side in ("width", "height"))
    if width < 1 or height < 1:
        raise BadInput(f"{where}: is {width}×{height} pixels; export it with its size")
    return CvatImage(title, width, height, tuple(_shapes(element, where)))


def _shapes(image: Element, where: str) -> Iterator[CvatShape]:
    for element in image:
        if element.tag not in _KINDS:
            continue
        kind = _BOXES.get(element.tag, element.tag)
        said: Mapping[str, str] = {one.get("name", ""): one.text or "" for one in element.iterfind("attribute")}
        yield CvatShape(
            kind=kind,
            label=element.get("label", ""),
            points=_points(element, f"{where}, {element.tag} of label {element.get('label', '')[:80]!a}"),
            attributes=said,
            z_order=_number(element, "z_order", where, int, "0"),
            source=element.get("source", "manual"),
        )


def _points(element: Element, where: str) -> tuple[float, ...]:
    if element.tag == "mask":
        left, top, width, height = (_number(element, side, where, int) for side in ("left", "top", "width", "height"))
        runs = _numbers((element.get("rle") or "").split(","), f"{where}: rle", int)
        return (*runs, left, top, left + width - 1, top + height - 1)
    if element.tag == "box":
        if float(element.get("rotation", "0") or 0):
            raise BadInput(f"{where}: is turned; draw a polygon")
        return tuple(_number(element, side, where, float) for side in _CORNERS)
    if element.tag in ("polygon", "points", "polyline"):
        parts = (element.get("points") or "").replace(";", ",").split(",")
        return tuple(_numbers(parts, f"{where}: points", float))
    return ()


def _number(element: Element, name: str, where: str, kind: type[N], default: str = "") -> N:
    return _numbers([element.get(name, default)], f"{where}: {name}", kind)[0]


def _numbers(texts: Sequence[str], where: str, kind: type[N]) -> list[N]:
    try:
        return [kind(text) for text in texts]
    except ValueError:
        shown = ",".join(texts)[:80]
        raise BadInput(f"{where}: {shown!a} is no number; export it again") from None
