"""Training samples from ledgers and label maps; decoded arrays are kept, within a bound, between rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.between_jobs import between_jobs
from tessera.errors import BadInput
from tessera.formats import images
from tessera.formats.blobs import Blobs
from tessera.formats.manifests import DatasetManifest, ImageItem, LabelManifest
from tessera.lru import ByteLimitedLRU
from tessera.pb.common_pb2 import ObjectRef
from tessera.training import Sample

UNDEFINED = 255
"""The undefined class in answers and in targets of samples, whatever the data set's ignore index."""

_images: ByteLimitedLRU[str, NDArray[np.uint8]] = between_jobs.keep(
    "decoded images", ByteLimitedLRU(128 << 20, lambda rgb: rgb.nbytes)
)
_crops: ByteLimitedLRU[tuple[Any, ...], Sample] = between_jobs.keep(
    "answered crops", ByteLimitedLRU(128 << 20, lambda sample: 4 * sample.target.nbytes)
)


class StoredImage:
    """A `Picture` in the store: decoded on access, and kept with others of its kind while they fit."""

    def __init__(self, item: ImageItem, blobs: Blobs) -> None:
        self._item, self._blobs = item, blobs
        self.shape = (item.height, item.width, 3)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        rgb = _images.get(self._item.image.sha256)
        if rgb is None:
            rgb = images.decode_rgb(self._blobs.read(self._item.image), self._item.image_id)
            _images.put(self._item.image.sha256, rgb)
        if rgb.shape != self.shape:
            raise BadInput(
                f"image {self._item.image_id} is {rgb.shape[1]}×{rgb.shape[0]} pixels, its manifest says "
                f"{self._item.width}×{self._item.height}; import the data set again"
            )
        return rgb.copy() if copy else rgb


def from_answers(
    dataset: DatasetManifest,
    split: str,
    ledgers: Sequence[Mapping[str, Any]],
    view: str,
    blobs: Blobs,
    without_pixels: str = "refuse",
) -> list[Sample]:
    """Return training samples in ledger order: one crop per answer; with view "windows" one whole image and box per
    answer; with view "images" one whole image each, 255 where not answered.

    Answers without pixels are refused, or left out with ``without_pixels`` "skip". BadInput: an answer's size differs
    from its box, a box outside its image, an answer without pixels, none with any.
    """
    items = {item.image_id: item for item in dataset.split(split)}
    rows = [row for ledger in ledgers for row in _rows(ledger)]
    for row in rows:
        if row["image_id"] not in items:
            raise BadInput(f"ledger: image {row['image_id']!r} is not in split {split} of {dataset.name}")
    if without_pixels == "skip":
        asked, rows = len(rows), [row for row in rows if row["answer_sha256"]]
        if asked and not rows:
            raise BadInput(
                f"ledger: none of the {asked} answers has pixels, so there is nothing to train on; "
                "ask for more first (budget, selection.initial), or use query dominant or mask"
            )
    if view == "crops":
        return [_crop(items[row["image_id"]], row, dataset, blobs) for row in rows]
    if view == "windows":
        return _windows(items, rows, dataset, blobs)
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_image.setdefault(row["image_id"], []).append(row)
    return [_whole(items[image_id], answered, dataset, blobs) for image_id, answered in by_image.items()]


def from_labels(dataset: DatasetManifest, labels: LabelManifest, blobs: Blobs) -> list[Sample]:
    """Return one sample for every image of the labels' split."""
    samples = []
    for item in dataset.split(labels.split):
        name, shape = f"label map of {item.image_id}", (item.height, item.width)
        data = blobs.read(labels.label(item.image_id))
        truth = images.decode_labels(data, name, len(dataset.classes), dataset.ignore_index, shape)
        truth[truth == dataset.ignore_index] = UNDEFINED
        samples.append(Sample(StoredImage(item, blobs), truth, image_id=item.image_id))
    return samples


def _rows(ledger: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = ("bucket", "key", "sha256", "size", "media_type")
    names = ("image_id", "region_id", "y0", "x0", "y1", "x1", *(f"answer_{part}" for part in answer))
    return [dict(zip(names, values, strict=True)) for values in zip(*(ledger[name] for name in names), strict=True)]


def _box(item: ImageItem, row: Mapping[str, Any]) -> tuple[int, int, int, int]:
    y0, x0, y1, x1 = (int(row[name]) for name in ("y0", "x0", "y1", "x1"))
    if not (0 <= y0 < y1 <= item.height and 0 <= x0 < x1 <= item.width):
        raise BadInput(
            f"ledger: region {row['region_id']} of {item.image_id} has box {(y0, x0, y1, x1)} outside the "
            f"{item.height}×{item.width} image; partition the data set again"
        )
    return y0, x0, y1, x1


def _answer(item: ImageItem, row: Mapping[str, Any], dataset: DatasetManifest, blobs: Blobs) -> NDArray[np.uint8]:
    y0, x0, y1, x1 = _box(item, row)
    if not row["answer_sha256"]:
        raise BadInput(
            f"ledger: region {row['region_id']} of {item.image_id} has no pixel-wise answer; "
            "set training.without_pixels to skip, or use query dominant or mask"
        )
    fields = {part: row[f"answer_{part}"] for part in ("bucket", "key", "sha256", "media_type")}
    ref = ObjectRef(size=int(row["answer_size"]), **fields)
    name = f"answer to {item.image_id} region {row['region_id']}"
    return images.decode_labels(blobs.read(ref), name, len(dataset.classes), UNDEFINED, (y1 - y0, x1 - x0))


def _crop(item: ImageItem, row: Mapping[str, Any], dataset: DatasetManifest, blobs: Blobs) -> Sample:
    box = _box(item, row)
    key = (item.image.sha256, str(row["answer_sha256"]), box, len(dataset.classes))
    sample = _crops.get(key)
    if sample is None:
        y0, x0, y1, x1 = box
        # Copied, so that a crop does not keep the whole image in memory.
        sample = Sample(np.asarray(StoredImage(item, blobs))[y0:y1, x0:x1].copy(), _answer(item, row, dataset, blobs))
        _crops.put(key, sample)
    return sample


def _windows(
    items: Mapping[str, ImageItem], rows: Sequence[Mapping[str, Any]], dataset: DatasetManifest, blobs: Blobs
) -> list[Sample]:
    pictures = {image_id: StoredImage(items[image_id], blobs) for image_id in {str(row["image_id"]) for row in rows}}
    samples = []
    for row in rows:
        item = items[row["image_id"]]
        samples.append(Sample(pictures[row["image_id"]], _answer(item, row, dataset, blobs), _box(item, row)))
    return samples


def _whole(item: ImageItem, answered: Sequence[Mapping[str, Any]], dataset: DatasetManifest, blobs: Blobs) -> Sample:
    target = np.full((item.height, item.width), UNDEFINED, dtype=np.uint8)
    for row in answered:
        y0, x0, y1, x1 = _box(item, row)
        answer = _answer(item, row, dataset, blobs)
        # Boxes of neighbouring regions overlap: 255 in an answer is outside its region and must not overwrite.
        np.copyto(target[y0:y1, x0:x1], answer, where=answer != UNDEFINED)
    return Sample(StoredImage(item, blobs), target, image_id=item.image_id)
