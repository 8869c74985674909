"""Parameters and classes of a street data set."""

from __future__ import annotations

from pydantic import Field

from tessera.formats.manifests import ClassInfo
from tessera.registry import Params

ROAD, SIDEWALK, BUILDING, SKY, VEGETATION, FENCE, POLE, SIGN, CAR, PEDESTRIAN, CYCLIST = range(11)
VOID = 255

CLASSES = (
    ClassInfo("road", (128, 64, 128)),
    ClassInfo("sidewalk", (244, 35, 232)),
    ClassInfo("building", (90, 70, 70)),
    ClassInfo("sky", (70, 130, 180)),
    ClassInfo("vegetation", (107, 142, 35)),
    ClassInfo("fence", (190, 153, 153)),
    ClassInfo("pole", (153, 153, 153)),
    ClassInfo("sign", (220, 220, 0)),
    ClassInfo("car", (0, 0, 142)),
    ClassInfo("pedestrian", (220, 20, 60)),
    ClassInfo("cyclist", (119, 11, 32)),
)

SPLITS = ("train", "val", "test")
FRAME_RATE = 10.0


class StreetParams(Params):
    """Size in pixels, sequences in each split, frames in each sequence (10 per second), and the seed."""

    height: int = Field(default=144, ge=32, le=2048)
    width: int = Field(default=192, ge=32, le=4096)
    train: int = Field(default=12, ge=1, le=999)
    val: int = Field(default=4, ge=1, le=999)
    test: int = Field(default=4, ge=1, le=999)
    frames: int = Field(default=12, ge=1, le=9999)
    seed: int = Field(default=0, ge=0, lt=2**63)

    def sequences(self, split: str) -> int:
        """Return how many sequences a split has."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]
