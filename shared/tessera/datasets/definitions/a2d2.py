"""A2D2: the 55 colours of its ``class_list.json``, its 38 classes, and two groupings of them.

``cityscapes`` maps the 38 classes to the 19 of Cityscapes. A2D2 publishes no such table, and the studies that say they
use one print none, so this one is derived from the class definitions of both data sets. It agrees with the converter
proposed to MMSegmentation wherever that marks no doubt, with three exceptions where the definition of Cityscapes
decides: parking areas are undefined there (not road), streets that are not for driving are its sidewalk (not road),
and grid structures are fences (not road). A2D2 has nothing for wall, terrain, rider, bus and train; these stay empty.

``study`` is the grouping in the public code of "Best Practices in Active Learning for Semantic Segmentation". The paper
says "the 19 classes of Cityscapes", the code has these 19 classes of its own, the last of which is everything else.
"""

from __future__ import annotations

from dataclasses import dataclass

from tessera.formats.manifests import ClassInfo

VOID = 255
FRAME_RATE = 30.0
# "selected based on the maximum class balance" (Best Practices, section 3): 1,142 images of 41,277.
VALIDATION = "20180925_112730"


@dataclass(frozen=True)
class Grouped:
    """A class of A2D2: the colours of its instances, its index in Cityscapes and in the study's code."""

    colours: tuple[str, ...]
    cityscapes: int
    study: int


CLASSES: dict[str, Grouped] = {
    "Car": Grouped(("ff0000", "c80000", "960000", "800000"), 13, 1),
    "Bicycle": Grouped(("b65906", "963204", "5a1e01", "5a1e1e"), 18, 2),
    "Pedestrian": Grouped(("cc99ff", "bd499b", "ef59bf"), 11, 3),
    "Truck": Grouped(("ff8000", "c88000", "968000"), 14, 4),
    "Small vehicles": Grouped(("00ff00", "00c800", "009600"), 17, 11),
    "Traffic signal": Grouped(("0080ff", "1e1c9e", "3c1c64"), 6, 5),
    "Traffic sign": Grouped(("00ffff", "1edcdc", "3c9dc7"), 7, 6),
    "Utility vehicle": Grouped(("ffff00", "ffffc8"), 14, 13),
    "Sidebars": Grouped(("e96400",), 4, 14),
    "Speed bumper": Grouped(("6e6e00",), 0, 0),
    "Curbstone": Grouped(("808000",), 1, 17),
    "Solid line": Grouped(("ffc125",), 0, 15),
    "Irrelevant signs": Grouped(("400040",), VOID, 18),
    "Road blocks": Grouped(("b97a57",), 4, 12),
    "Tractor": Grouped(("000064",), 14, 18),
    "Non-drivable street": Grouped(("8b636c",), 1, 7),
    "Zebra crossing": Grouped(("d23273",), 0, 0),
    "Obstacles / trash": Grouped(("ff0080",), VOID, 18),
    "Poles": Grouped(("fff68f",), 5, 14),
    "RD restricted area": Grouped(("960096",), 0, 0),
    "Animals": Grouped(("ccff99",), VOID, 18),
    "Grid structure": Grouped(("eea2ad",), 4, 12),
    "Signal corpus": Grouped(("212cb1",), 6, 14),
    "Drivable cobblestone": Grouped(("b432b4",), 0, 0),
    "Electronic traffic": Grouped(("ff46b9",), VOID, 18),
    "Slow drive area": Grouped(("eee9bf",), 0, 0),
    "Nature object": Grouped(("93fdc2",), 8, 8),
    "Parking area": Grouped(("9696c8",), VOID, 18),
    "Sidewalk": Grouped(("b496c8",), 1, 7),
    "Ego car": Grouped(("48d1cc",), VOID, 18),
    "Painted driv. instr.": Grouped(("c87dd2",), 0, 15),
    "Traffic guide obj.": Grouped(("9f79ee",), VOID, 16),
    "Dashed line": Grouped(("8000ff",), 0, 15),
    "RD normal street": Grouped(("ff00ff",), 0, 0),
    "Sky": Grouped(("87ceff",), 10, 9),
    "Buildings": Grouped(("f1e6ff",), 2, 10),
    "Blurred area": Grouped(("60458f",), VOID, 18),
    "Rain dirt": Grouped(("352e52",), VOID, 18),
}


def colour(text: str) -> tuple[int, int, int]:
    """Return the RGB of six hexadecimal digits."""
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


ORIGINAL_CLASSES = tuple(ClassInfo(name, colour(entry.colours[0])) for name, entry in CLASSES.items())

STUDY_CLASSES = tuple(
    ClassInfo(name, colour(CLASSES[like].colours[0]))
    for name, like in (
        ("road", "RD normal street"),
        ("car", "Car"),
        ("bicycle", "Bicycle"),
        ("pedestrian", "Pedestrian"),
        ("truck", "Truck"),
        ("traffic signal", "Traffic signal"),
        ("traffic sign", "Traffic sign"),
        ("sidewalk", "Sidewalk"),
        ("nature", "Nature object"),
        ("sky", "Sky"),
        ("building", "Buildings"),
        ("small vehicle", "Small vehicles"),
        ("barrier", "Grid structure"),
        ("utility vehicle", "Utility vehicle"),
        ("pole", "Poles"),
        ("lane marking", "Dashed line"),
        ("traffic guide object", "Traffic guide obj."),
        ("curbstone", "Curbstone"),
        ("other", "Blurred area"),
    )
)
