"""Answers of a run in the layouts that other tools read: files by name, made from one image at a time.

Every layout comes with ``provenance.json``, one entry per answer: who gave it, when, to which question. Pixels that
nobody answered, and undefined ones, have the ignore index.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput, nearest
from tessera.formats import images
from tessera.formats.manifests import DatasetManifest, ImageItem
from tessera.queries.given import mask_to_runs

NOBODY: Final = 255
"""Value of pixels without an answer, in answers and in what is written."""
_SOURCE_COLORS: Final = ((38, 42, 51), (64, 145, 108), (72, 126, 214), (233, 157, 58))


@dataclass(frozen=True)
class LabelledPart:
    """Pixels of one class whose labels come from one place, beside the answers with pixels."""

    told: Mapping[str, Any]
    """Where from: entries as in ``provenance.json``."""
    label: int
    pixels: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Rows and columns."""


@dataclass(frozen=True)
class AnsweredImage:
    """One image with its answers."""

    item: ImageItem
    labels: NDArray[np.uint8]
    """(H, W) class index; ``NOBODY`` where there is none."""
    crops: tuple[tuple[Mapping[str, Any], NDArray[np.uint8]], ...]
    """Rows of the ledger with pixels, and these: (y1 - y0, x1 - x0)."""
    sources: NDArray[np.uint8] | None = None
    """(H, W) where each label comes from (`pseudo_exports.SOURCES`); None: people gave all of them."""
    parts: tuple[LabelledPart, ...] = ()
    """Labels of ``labels`` that are in no crop."""
    table: tuple[Mapping[str, Any], ...] = ()
    """Rows of `pseudo_exports.TABLE`."""


def paint(item: ImageItem, rows: Sequence[Mapping[str, Any]], crops: Sequence[bytes]) -> AnsweredImage:
    """Put the answers to questions about one image together, later ones over earlier ones.

    ``crops``: the stored PNG of each row. BadInput where one does not fit its box.
    """
    labels, found = np.full((item.height, item.width), NOBODY, np.uint8), []
    for row, data in zip(rows, crops, strict=True):
        y0, x0, y1, x1 = (int(row[name]) for name in ("y0", "x0", "y1", "x1"))
        name = f"answer to {item.image_id} region {row['region_id']}"
        crop = images.decode_labels(data, name, shape=(y1 - y0, x1 - x0))
        np.copyto(labels[y0:y1, x0:x1], crop, where=crop != NOBODY)
        found.append((row, crop))
    return AnsweredImage(item, labels, tuple(found))


@dataclass
class Export:
    """The files of one layout. ``image`` yields those of an image, ``end`` those that come last."""

    dataset: DatasetManifest
    coco: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"images": [], "annotations": []})

    def image(self, answered: AnsweredImage, picture: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of each file about one image; ``picture``: the image's bytes in the data set."""
        raise NotImplementedError

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files about all images."""
        yield "classes.json", self._classes()

    def _indexed(self, answered: AnsweredImage) -> bytes:
        return images.encode_indexed(answered.labels, [one.color for one in self.dataset.classes])

    def _sources(self, answered: AnsweredImage, path: str) -> Iterator[tuple[str, bytes]]:
        if answered.sources is not None:
            yield path, images.encode_indexed(answered.sources, _SOURCE_COLORS)

    def _classes(self) -> bytes:
        classes = [
            {"index": index, "name": one.name, "color": list(one.color)}
            for index, one in enumerate(self.dataset.classes)
        ]
        top = {"name": self.dataset.name, "ignore_index": NOBODY, "classes": classes}
        return _json(top)


class PngExport(Export):
    """``labels/ID.png``, class indices with a palette, and ``classes.json``."""

    def image(self, answered: AnsweredImage, picture: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the label map."""
        yield f"labels/{answered.item.image_id}.png", self._indexed(answered)
        yield from self._sources(answered, f"provenance/{answered.item.image_id}.png")


class MmsegExport(Export):
    """MMSegmentation's ``img_dir/train/`` and ``ann_dir/train/``, with ``classes.txt``."""

    def image(self, answered: AnsweredImage, picture: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the image as it is, and its label map."""
        name = answered.item.image_id
        yield f"img_dir/train/{name}.{_extension(picture, name)}", picture
        yield f"ann_dir/train/{name}.png", self._indexed(answered)
        yield from self._sources(answered, f"provenance_dir/train/{name}.png")

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Yield the names of the classes."""
        yield "classes.txt", "".join(f"{one.name}\n" for one in self.dataset.classes).encode()


class CityscapesExport(Export):
    """``leftImg8bit/train/CITY/`` and ``gtFine/train/CITY/*_gtFine_labelTrainIds.png``; the city is the video."""

    def image(self, answered: AnsweredImage, picture: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the image as PNG, and its label map in train ids, which are class indices."""
        name = answered.item.image_id
        city = answered.item.sequence.partition("_")[0] or "images"
        if _extension(picture, name) != "png":
            picture = images.encode_png(images.decode_rgb(picture, name))
        yield f"leftImg8bit/train/{city}/{name}_leftImg8bit.png", picture
        yield f"gtFine/train/{city}/{name}_gtFine_labelTrainIds.png", images.encode_png(answered.labels)
        yield from self._sources(answered, f"gtFine/train/{city}/{name}_gtFine_provenance.png")


class CocoExport(Export):
    """COCO: ``annotations/stuff_train.json``, one annotation per answer and class, as run-length encoded masks."""

    def image(self, answered: AnsweredImage, picture: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the image; its annotations are kept for the end."""
        item, found = answered.item, self.coco
        name = f"{item.image_id}.{_extension(picture, item.image_id)}"
        number = len(found["images"]) + 1
        found["images"].append({"id": number, "file_name": name, "height": item.height, "width": item.width})
        for row, crop in answered.crops:
            for label in sorted(set(np.unique(crop).tolist()) - {NOBODY}):
                ys, xs = np.nonzero(crop == label)
                self._annotate(number, item, label, (ys + int(row["y0"]), xs + int(row["x0"])), who(row))
        for part in answered.parts:
            self._annotate(number, item, part.label, part.pixels, part.told)
        yield from self._sources(answered, f"provenance/{item.image_id}.png")
        yield f"images/{name}", picture

    def _annotate(
        self,
        number: int,
        item: ImageItem,
        label: int,
        pixels: tuple[NDArray[np.int64], NDArray[np.int64]],
        told: Mapping[str, Any],
    ) -> None:
        ys, xs = pixels
        mask = np.zeros((item.height, item.width), bool)
        mask[ys, xs] = True
        x, y = int(xs.min()), int(ys.min())
        made = {
            "id": len(self.coco["annotations"]) + 1,
            "image_id": number,
            "category_id": label + 1,
            # COCO counts pixels column by column.
            "segmentation": {"size": [item.height, item.width], "counts": mask_to_runs(mask.T)},
            "area": len(ys),
            "bbox": [x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1],
            "iscrowd": 0,
            "attributes": dict(told),
        }
        self.coco["annotations"].append(made)

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Yield the annotations."""
        categories = [
            {"id": index + 1, "name": one.name, "supercategory": ""} for index, one in enumerate(self.dataset.classes)
        ]
        yield "annotations/stuff_train.json", _json({**self.coco, "categories": categories})


LAYOUTS: Final[Mapping[str, Callable[[DatasetManifest], Export]]] = {
    "png": PngExport,
    "coco": CocoExport,
    "cityscapes": CityscapesExport,
    "mmseg": MmsegExport,
}


def export_as(layout: str, dataset: DatasetManifest) -> Export:
    """Return the files of a layout; BadInput for an unknown one."""
    if layout not in LAYOUTS:
        raise BadInput(f"--layout {layout!r}: unknown; {nearest(layout, LAYOUTS)}")
    return LAYOUTS[layout](dataset)


def provenance(
    run: str, dataset: DatasetManifest, rows: Sequence[Mapping[str, Any]], pseudo: Mapping[str, Any] | None = None
) -> bytes:
    """Return ``provenance.json``: the answers in the order given, those without pixels included.

    ``pseudo``: what there is to say about pseudo labels, where they were asked for.
    """
    top = {"run": run, "dataset": dataset.name, "answers": [_answer(row) for row in rows]}
    return _json(top if pseudo is None else {**top, "pseudo": dict(pseudo)})


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    box = [int(row[name]) for name in ("y0", "x0", "y1", "x1")]
    return {
        "image_id": str(row["image_id"]),
        "region_id": int(row["region_id"]),
        "box": box,
        "query": str(row["query"]),
        "classes": [int(label) for label in row["classes"]],
        "pixels_labelled": bool(row["answer_sha256"]),
        "event_id": str(row["event_id"]),
        **who(row),
    }


def who(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return who answered and when; ``source`` is human, or the simulated oracle's name."""
    made: dict[str, Any] = {"round": int(row["round"]), "source": str(row["oracle"])}
    if row.get("annotator"):
        at = datetime.datetime.fromtimestamp(float(row["answered_at"]), datetime.UTC)
        made |= {
            "annotator": str(row["annotator"]),
            "answered_at": at.isoformat(timespec="seconds"),
            "measured_seconds": float(row["measured_seconds"]),
            "measured_clicks": int(row["measured_clicks"]),
            "page_version": str(row["page_version"]),
        }
        if float(row["agreement"]) >= 0:
            made["agreement"] = round(float(row["agreement"]), 4)
    return made


def _extension(picture: bytes, name: str) -> str:
    return images.probe(picture, name).extension


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
