"""PASCAL VOC 2012: the 21 classes of the segmentation task, in its colour map; 255 is void."""

from __future__ import annotations

from tessera.datasets.samples import palette
from tessera.formats.manifests import ClassInfo

_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

CLASSES = tuple(ClassInfo(name, palette(index)) for index, name in enumerate(_NAMES))
