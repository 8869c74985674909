"""CamVid: the 32 colours of the original annotation, their grouping to 11 classes, and the split everyone uses.

The grouping and the split are SegNet's (367/101/233 images): the classes as its label maps number them, the grouping as
published by MathWorks in the pixelLabelDatastore example ("following the original SegNet training methodology").
"""

from __future__ import annotations

import re

from tessera.formats.label_codes import ColourCode, IdCode
from tessera.formats.manifests import ClassInfo

VOID = 255
FRAME_RATE = 30.0

CLASSES = (
    ClassInfo("Sky", (128, 128, 128)),
    ClassInfo("Building", (128, 0, 0)),
    ClassInfo("Pole", (192, 192, 128)),
    ClassInfo("Road", (128, 64, 128)),
    ClassInfo("Pavement", (60, 40, 222)),
    ClassInfo("Tree", (128, 128, 0)),
    ClassInfo("SignSymbol", (192, 128, 128)),
    ClassInfo("Fence", (64, 64, 128)),
    ClassInfo("Car", (64, 0, 128)),
    ClassInfo("Pedestrian", (64, 64, 0)),
    ClassInfo("Bicyclist", (0, 128, 192)),
)

# Name → colour and index of its group in CLASSES.
ORIGINAL: dict[str, tuple[tuple[int, int, int], int]] = {
    "Animal": ((64, 128, 64), 9),
    "Archway": ((192, 0, 128), 1),
    "Bicyclist": ((0, 128, 192), 10),
    "Bridge": ((0, 128, 64), 1),
    "Building": ((128, 0, 0), 1),
    "Car": ((64, 0, 128), 8),
    "CartLuggagePram": ((64, 0, 192), 9),
    "Child": ((192, 128, 64), 9),
    "Column_Pole": ((192, 192, 128), 2),
    "Fence": ((64, 64, 128), 7),
    "LaneMkgsDriv": ((128, 0, 192), 3),
    "LaneMkgsNonDriv": ((192, 0, 64), 3),
    "Misc_Text": ((128, 128, 64), 6),
    "MotorcycleScooter": ((192, 0, 192), 10),
    "OtherMoving": ((128, 64, 64), 8),
    "ParkingBlock": ((64, 192, 128), 4),
    "Pedestrian": ((64, 64, 0), 9),
    "Road": ((128, 64, 128), 3),
    "RoadShoulder": ((128, 128, 192), 4),
    "Sidewalk": ((0, 0, 192), 4),
    "SignSymbol": ((192, 128, 128), 6),
    "Sky": ((128, 128, 128), 0),
    "SUVPickupTruck": ((64, 128, 192), 8),
    "TrafficCone": ((0, 0, 64), 2),
    "TrafficLight": ((0, 64, 64), 6),
    "Train": ((192, 64, 128), 8),
    "Tree": ((128, 128, 0), 5),
    "Truck_Bus": ((192, 128, 192), 8),
    "Tunnel": ((64, 0, 64), 1),
    "VegetationMisc": ((192, 192, 0), 5),
    "Void": ((0, 0, 0), VOID),
    "Wall": ((64, 192, 0), 1),
}

# All 31 classes apart, in the order of the original list.
FINE_CLASSES = tuple(ClassInfo(name, colour) for name, (colour, _) in ORIGINAL.items() if name != "Void")

GROUPED = ColourCode("colours of CamVid", dict(ORIGINAL.values()))
FINE = ColourCode(
    "colours of CamVid", {**{info.color: index for index, info in enumerate(FINE_CLASSES)}, (0, 0, 0): VOID}
)

# SegNet's label maps: 0..10, and 11 for unlabelled.
SEGNET = IdCode("values of SegNet's CamVid labels (0 to 11)", {**{index: index for index in range(11)}, 11: VOID})

_NAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d{1,12})\Z")


def place(image_id: str) -> tuple[str, float]:
    """Return the video and seconds of an original name, such as 0006R0_f00930; ("", 0) for any other name."""
    match = _NAME.match(image_id)
    return (match[1], int(match[2]) / FRAME_RATE) if match else ("", 0.0)


def split_of(image_id: str) -> str | None:
    """Return the split that SegNet's lists put an original name in; None for any other name."""
    match = _NAME.match(image_id)
    if not match:
        return None
    sequence, frame = match[1], int(match[2])
    if sequence == "Seq05VD" or (sequence == "0001TP" and frame > 8520):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= frame <= 8159 else "train"
