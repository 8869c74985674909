"""Label Studio's labelling configuration: one for each query."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as Xml

from tessera.adapters.tasks import ToolRound

IMAGE: Final = "image"
REGION: Final = "region"
"""Control of the region's outline, which nobody edits and nobody reads."""
POINTS: Final = "points"
"""Control of the pixels that a pixel query asks about."""
CHOICES: Final = "answer"
BRUSH: Final = "brush"
POLYGON: Final = "polygon"
MARKS: Final = "marks"
_WORDS: Final = {
    "dominant": "Which class fills most of the outlined region?",
    "multi_class": "Which classes does the outlined region show? Choose all of them.",
    "mask": "Label every pixel inside the outline. What is drawn outside of it is ignored.",
    "polygon_in_patch": "Draw polygons inside the outline. What is drawn outside of it is ignored.",
    "pixel": "Put a mark on every point: choose its class, then click on it.",
    "image": "Label every pixel of the image.",
}


def labelling_config(round_: ToolRound) -> str:
    """Return the configuration (XML) with which people answer the questions of a round.

    dominant, multi_class: choices, one or many. mask, image: brush or polygon, one label per class. polygon_in_patch:
    polygons. pixel: key points. The region is outlined in each, except for whole images.
    """
    top = Xml.Element("View")
    Xml.SubElement(top, "Header", value=_WORDS.get(round_.query, "Answer for the outlined region."))
    picture = {"name": IMAGE, "value": "$image", "zoom": "true", "zoomControl": "true", "brightnessControl": "true"}
    if round_.shape == "raster":
        # The brush reads the canvas, which a browser allows for images of other servers only by this and a CORS rule.
        picture["crossOrigin"] = "anonymous"
    Xml.SubElement(top, "Image", picture)
    hidden = Xml.SubElement(top, "View", style="display: none")
    outline = Xml.SubElement(hidden, "PolygonLabels", name=REGION, toName=IMAGE, fillOpacity="0", strokeWidth="2")
    Xml.SubElement(outline, "Label", value=REGION, background="#ffffff")
    if round_.shape == "points":
        points = Xml.SubElement(hidden, "KeyPointLabels", name=POINTS, toName=IMAGE, strokeWidth="4", opacity="0.4")
        Xml.SubElement(points, "Label", value=POINTS, background="#ffffff")
    _answers(top, round_)
    Xml.indent(top)
    return Xml.tostring(top, encoding="unicode") + "\n"


def _answers(top: Xml.Element, round_: ToolRound) -> None:
    match round_.shape:
        case "one" | "all":
            how = "single" if round_.shape == "one" else "multiple"
            control = Xml.SubElement(
                top, "Choices", name=CHOICES, toName=IMAGE, choice=how, required="true", showInline="true"
            )
            for label in round_.labels:
                keyed = {"hotkey": label.key} if label.key else {}
                Xml.SubElement(control, "Choice", {"value": label.name, **keyed})
        case "points":
            _labels(Xml.SubElement(top, "KeyPointLabels", name=MARKS, toName=IMAGE, strokeWidth="3"), round_, keys=True)
        case _:
            brush = round_.query != "polygon_in_patch"
            if brush:
                _labels(Xml.SubElement(top, "BrushLabels", name=BRUSH, toName=IMAGE), round_, keys=True)
            polygon = Xml.SubElement(top, "PolygonLabels", name=POLYGON, toName=IMAGE, opacity="0.4", strokeWidth="1")
            _labels(polygon, round_, keys=not brush)


def _labels(control: Xml.Element, round_: ToolRound, *, keys: bool) -> None:
    for label in round_.labels:
        keyed = {"hotkey": label.key} if keys and label.key else {}
        Xml.SubElement(control, "Label", {"value": label.name, "background": label.color, **keyed})
