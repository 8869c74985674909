"""What datumaro makes of CVAT's files; runs in a virtual environment of its own, not in ours.

``python datumaro_side.py read FORMAT FOLDER OUT`` writes what it reads as JSON; masks as runs of pixels, row by row,
outside first. ``write CONTENT FOLDER`` writes both formats from JSON. ``fill POLYGONS OUT``: pixels of polygons.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def runs(mask: Any) -> list[int]:
    flat = np.concatenate([[0], np.asarray(mask, np.uint8).ravel() != 0, [0]]).astype(int)
    edges = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], edges, [np.asarray(mask).size]])).tolist()


def read(format_: str, folder: str, out: str) -> None:
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    dataset = Dataset.import_from(folder, format_)
    labels = [one.name for one in dataset.categories()[AnnotationType.label]]
    found: dict[str, Any] = {}
    for item in dataset:
        mine = found.setdefault(item.id, [])
        for one in item.annotations:
            told = {"type": one.type.name, "label": labels[one.label], "z_order": getattr(one, "z_order", 0)}
            told["attributes"] = {name: str(value) for name, value in one.attributes.items()}
            if one.type == AnnotationType.mask:
                told["shape"], told["runs"] = list(one.image.shape), runs(one.image)
            elif hasattr(one, "points"):
                told["points"] = list(one.points)
            mine.append(told)
    Path(out).write_text(json.dumps({"labels": labels, "items": found}))


def write(content: str, folder: str) -> None:
    from datumaro.components.annotation import AnnotationType, LabelCategories, Mask, MaskCategories, Polygon
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image

    told = json.loads(Path(content).read_text())
    items = []
    for name, shapes in told["items"].items():
        made: list[Any] = []
        for group, one in enumerate(shapes, 1):
            label = told["labels"].index(one["label"])
            if "rows" in one:
                made.append(Mask(np.array(one["rows"], np.uint8), label=label, z_order=one["z_order"], group=group))
            else:
                made.append(Polygon(one["points"], label=label, z_order=one["z_order"], group=group))
        picture = np.zeros((*told["size"], 3), np.uint8)
        items.append(DatasetItem(name, media=Image.from_numpy(picture), annotations=made))
    colors = dict(enumerate(tuple(one) for one in told["colors"]))
    categories = {
        AnnotationType.label: LabelCategories.from_iterable(told["labels"]),
        AnnotationType.mask: MaskCategories(colors),
    }
    dataset = Dataset.from_iterable(items, categories=categories)
    dataset.export(str(Path(folder) / "cvat"), "cvat", save_media=True)
    dataset.transform("polygons_to_masks")
    dataset.export(str(Path(folder) / "masks"), "voc_segmentation", label_map="source", save_media=False)


def fill(polygons: str, out: str) -> None:
    from pycocotools import mask as coco

    made = []
    for one in json.loads(Path(polygons).read_text()):
        height, width = one["size"]
        filled = coco.decode(coco.frPyObjects([[float(value) for value in one["points"]]], height, width))[..., 0]
        made.append(runs(filled))
    Path(out).write_text(json.dumps(made))


if __name__ == "__main__":
    {"read": read, "write": write, "fill": fill}[sys.argv[1]](*sys.argv[2:])
