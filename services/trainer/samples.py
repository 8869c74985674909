"""From ledgers and label maps to training samples; decoded ones are kept between the rounds of a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.formats import images
from tessera.formats.manifests import DatasetManifest, ImageItem, LabelManifest
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.method import Blobs
from tessera.training import Sample

_KEPT = 2048
_KEPT_BYTES = 128 << 10  # larger crops are decoded again, so that the cache stays under 256 MiB
_crops: OrderedDict[tuple[str, str, tuple[int, int, int, int]], Sample] = OrderedDict()


def from_answers(
    dataset: DatasetManifest, split: str, ledgers: Sequence[Mapping[str, Any]], view: str, blobs: Blobs
) -> list[Sample]:
    """Samples in ledger order: a crop an answer; under view "windows" a whole image with one answer's box; under view
    "images" a whole image with 255 where not answered.

    BadInput: an answer's size differs from its box, a box outside its image, an image without a pixel-wise answer.
    """
    items = {item.image_id: item for item in dataset.split(split)}
    rows = [row for ledger in ledgers for row in _rows(ledger)]
    for row in rows:
        if row["image_id"] not in items:
            raise BadInput(f"ledger: image {row['image_id']!r} is not in split {split} of {dataset.name}")
    if view == "crops":
        return [_crop(items[row["image_id"]], row, dataset, blobs) for row in rows]
    if view == "windows":
        return _windows(items, rows, dataset, blobs)
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_image.setdefault(row["image_id"], []).append(row)
    return [_whole(items[image_id], answered, dataset, blobs) for image_id, answered in by_image.items()]


def from_labels(dataset: DatasetManifest, labels: LabelManifest, blobs: Blobs) -> list[Sample]:
    """One sample for every image of the labels' split."""
    samples = []
    for item in dataset.split(labels.split):
        rgb = images.decode_rgb(blobs.read(item.image), item.image_id)
        truth = _labels(
            blobs.read(labels.label(item.image_id)), f"label map of {item.image_id}", dataset, rgb.shape[:2]
        )
        samples.append(Sample(rgb, truth))
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
            "this training method needs query format mask"
        )
    fields = {part: row[f"answer_{part}"] for part in ("bucket", "key", "sha256", "media_type")}
    ref = ObjectRef(size=int(row["answer_size"]), **fields)
    return _labels(blobs.read(ref), f"answer to {item.image_id} region {row['region_id']}", dataset, (y1 - y0, x1 - x0))


def _labels(data: bytes, name: str, dataset: DatasetManifest, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Class indices with the data set's ignore index replaced by 255, as training wants it."""
    truth = images.decode_labels(data, name, len(dataset.classes), dataset.ignore_index, (shape[0], shape[1]))
    if dataset.ignore_index != 255:
        truth = np.where(truth == dataset.ignore_index, np.uint8(255), truth)
    return truth


def _crop(item: ImageItem, row: Mapping[str, Any], dataset: DatasetManifest, blobs: Blobs) -> Sample:
    box = _box(item, row)
    key = (item.image.sha256, str(row["answer_sha256"]), box)
    if key in _crops:
        _crops.move_to_end(key)
        return _crops[key]
    y0, x0, y1, x1 = box
    target = _answer(item, row, dataset, blobs)
    rgb = images.decode_rgb(blobs.read(item.image), item.image_id)
    # Copied, so that the whole image is not kept alive by its crop.
    sample = Sample(rgb[y0:y1, x0:x1].copy(), target)
    if sample.image.nbytes <= _KEPT_BYTES:
        _crops[key] = sample
        while len(_crops) > _KEPT:
            _crops.popitem(last=False)
    return sample


def _windows(
    items: Mapping[str, ImageItem], rows: Sequence[Mapping[str, Any]], dataset: DatasetManifest, blobs: Blobs
) -> list[Sample]:
    decoded: dict[str, NDArray[np.uint8]] = {}
    samples = []
    for row in rows:
        item = items[row["image_id"]]
        if item.image_id not in decoded:
            decoded[item.image_id] = images.decode_rgb(blobs.read(item.image), item.image_id)
        answer = _answer(item, row, dataset, blobs)
        samples.append(Sample(decoded[item.image_id], answer, _box(item, row)))
    return samples


def _whole(item: ImageItem, answered: Sequence[Mapping[str, Any]], dataset: DatasetManifest, blobs: Blobs) -> Sample:
    rgb = images.decode_rgb(blobs.read(item.image), item.image_id)
    target = np.full(rgb.shape[:2], 255, dtype=np.uint8)
    for row in answered:
        y0, x0, y1, x1 = _box(item, row)
        answer = _answer(item, row, dataset, blobs)
        # Neighbouring regions' boxes overlap: 255 in an answer means "not mine" and must not erase.
        np.copyto(target[y0:y1, x0:x1], answer, where=answer != 255)
    return Sample(rgb, target)
