"""Cityscapes: ids, train ids and colours as in the label definition that its authors publish with the data set.

Also the classes of BDD100K, whose train ids are the same, and of A2D2 when it is mapped to them.
"""

from __future__ import annotations

from tessera.formats.label_codes import IdCode
from tessera.formats.manifests import ClassInfo

VOID = 255
FRAME_RATE = 17.0

CLASSES = (
    ClassInfo("road", (128, 64, 128)),
    ClassInfo("sidewalk", (244, 35, 232)),
    ClassInfo("building", (70, 70, 70)),
    ClassInfo("wall", (102, 102, 156)),
    ClassInfo("fence", (190, 153, 153)),
    ClassInfo("pole", (153, 153, 153)),
    ClassInfo("traffic light", (250, 170, 30)),
    ClassInfo("traffic sign", (220, 220, 0)),
    ClassInfo("vegetation", (107, 142, 35)),
    ClassInfo("terrain", (152, 251, 152)),
    ClassInfo("sky", (70, 130, 180)),
    ClassInfo("person", (220, 20, 60)),
    ClassInfo("rider", (255, 0, 0)),
    ClassInfo("car", (0, 0, 142)),
    ClassInfo("truck", (0, 0, 70)),
    ClassInfo("bus", (0, 60, 100)),
    ClassInfo("train", (0, 80, 100)),
    ClassInfo("motorcycle", (0, 0, 230)),
    ClassInfo("bicycle", (119, 11, 32)),
)

# Class index → id in *_gtFine_labelIds.png. The other ids of 0..33 are undefined: unlabeled 0, ego vehicle 1,
# rectification border 2, out of roi 3, static 4, dynamic 5, ground 6, parking 9, rail track 10, guard rail 14,
# bridge 15, tunnel 16, polegroup 18, caravan 29, trailer 30. A license plate has no id of its own (-1).
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

LABEL_IDS = IdCode(
    "ids of Cityscapes (0 to 33)",
    {**dict.fromkeys(range(34), VOID), **{value: index for index, value in enumerate(IDS)}},
)
