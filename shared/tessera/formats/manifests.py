"""Manifests: which images and labels a data set has, as JSON ↔ frozen values.

Labels have manifests of their own, one per split: a reader of the data set manifest cannot find a label through it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

from tessera.errors import BadInput
from tessera.formats.keys import check_image_id, check_key, check_series, check_sha256, check_split
from tessera.formats.outside import check_outside, is_outside
from tessera.pb.common_pb2 import ImageRange, ObjectRef
from tessera.registry import canonical_json

VERSION = 1

Task = Literal["segmentation", "classification"]

T = TypeVar("T")


@dataclass(frozen=True)
class ClassInfo:
    """A class: its name and the RGB colour it is drawn in, 0..255 each."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class ImageItem:
    """One image: its object, size in pixels, and place in its video (seconds; 0 for stills)."""

    image_id: str
    image: ObjectRef
    width: int
    height: int
    sequence: str
    time: float


@dataclass(frozen=True)
class SeriesPlace:
    """A version of a data set that grows: the series' name, the version's number from 1 on, and the SHA-256 of the
    manifest of the version before ("" for the first)."""

    name: str
    number: int
    previous: str = ""


@dataclass(frozen=True)
class DatasetManifest:
    """A data set without its labels; class index = position in ``classes``."""

    name: str
    classes: tuple[ClassInfo, ...]
    splits: Mapping[str, tuple[ImageItem, ...]]
    ignore_index: int = 255
    task: Task = "segmentation"
    """``classification``: every label map is of one class, that of its image."""
    series: SeriesPlace | None = None
    """Set for a data set that refers to images outside the store; None for one that was copied."""

    def split(self, name: str) -> tuple[ImageItem, ...]:
        """Return the images of a split, in order; BadInput naming the known splits."""
        if name not in self.splits:
            raise BadInput(f"data set {self.name}: no split {name!r}; it has {', '.join(sorted(self.splits))}")
        return self.splits[name]

    def sizes(self) -> dict[str, int]:
        """Return the number of images by split."""
        return {name: len(items) for name, items in self.splits.items()}

    def items(self, images: ImageRange) -> tuple[ImageItem, ...]:
        """Return the images [start, end) of a split; BadInput if the range is not inside it."""
        split = self.split(images.split)
        if not 0 <= images.start <= images.end <= len(split):
            raise BadInput(
                f"data set {self.name}: images [{images.start}, {images.end}) of {images.split} asked for, "
                f"it has {len(split)}"
            )
        return split[images.start : images.end]

    def by_id(self, split: str, image_ids: list[str] | tuple[str, ...]) -> tuple[ImageItem, ...]:
        """Return the named images of a split, in the order given; BadInput naming the first unknown id."""
        known = {item.image_id: item for item in self.split(split)}
        for image_id in image_ids:
            if image_id not in known:
                raise BadInput(f"data set {self.name}: split {split} has no image {image_id!r}")
        return tuple(known[image_id] for image_id in image_ids)


@dataclass(frozen=True)
class LabelManifest:
    """The label maps of one split by image id."""

    split: str
    labels: Mapping[str, ObjectRef]

    def label(self, image_id: str) -> ObjectRef:
        """Return the label map of an image; BadInput if it has none."""
        if image_id not in self.labels:
            raise BadInput(f"labels of {self.split}: none for image {image_id!r}; label it or leave it out")
        return self.labels[image_id]


def dataset_to_json(manifest: DatasetManifest) -> bytes:
    """Return the canonical JSON: equal manifests give equal bytes."""
    top = {
        "kind": "dataset",
        "version": VERSION,
        "name": manifest.name,
        "ignore_index": manifest.ignore_index,
        "classes": [{"name": info.name, "color": list(info.color)} for info in manifest.classes],
        "splits": {name: [_item_to_json(item) for item in items] for name, items in manifest.splits.items()},
    }
    # Left out where they are as ever: manifests of segmentation that were copied keep their bytes.
    if manifest.task != "segmentation":
        top["task"] = manifest.task
    if manifest.series is not None:
        top["series"] = asdict(manifest.series)
    return canonical_json(top).encode()


def dataset_from_json(data: bytes, name: str = "data set manifest") -> DatasetManifest:
    """Parse and check a data set manifest; BadInput naming ``name`` and the field."""
    top = _parse(data, "dataset", name)
    classes = tuple(
        _class_from_json(value, f"{name}: classes[{at}]") for at, value in enumerate(_list(top, "classes", name))
    )
    ignore_index = _field(top, "ignore_index", int, name)
    if not 1 <= len(classes) <= 255 or not len(classes) <= ignore_index <= 255:
        raise BadInput(
            f"{name}: {len(classes)} classes with ignore_index {ignore_index}; give 1 to 255 classes, all below "
            "ignore_index"
        )
    splits = {}
    for split, items in _field(top, "splits", dict, name).items():
        where = f"{name}: splits.{split}"
        check_split(split, name)
        if not isinstance(items, list):
            raise BadInput(f"{where}: expected a list, got {type(items).__name__}")
        splits[split] = tuple(_item_from_json(item, f"{where}[{at}]") for at, item in enumerate(items))
        _check_unique([item.image_id for item in splits[split]], where)
    task = top.get("task", "segmentation")
    if task not in get_args(Task):
        raise BadInput(f"{name}.task: {task!r:.80} is none of {', '.join(get_args(Task))}; import the data set again")
    return DatasetManifest(_field(top, "name", str, name), classes, splits, ignore_index, task, _series(top, name))


def labels_to_json(manifest: LabelManifest) -> bytes:
    """Return the canonical JSON: equal manifests give equal bytes."""
    labels = {image_id: _ref_to_json(ref) for image_id, ref in manifest.labels.items()}
    return canonical_json({"kind": "labels", "version": VERSION, "split": manifest.split, "labels": labels}).encode()


def labels_from_json(data: bytes, name: str = "label manifest") -> LabelManifest:
    """Parse and check a label manifest; BadInput naming ``name`` and the field."""
    top = _parse(data, "labels", name)
    labels = {
        check_image_id(image_id, name): _ref_from_json(ref, f"{name}: labels.{image_id}")
        for image_id, ref in _field(top, "labels", dict, name).items()
    }
    return LabelManifest(check_split(_field(top, "split", str, name), name), labels)


def _series(top: dict[str, Any], name: str) -> SeriesPlace | None:
    if "series" not in top:
        return None
    where, value = f"{name}.series", top["series"]
    previous = _field(value, "previous", str, where)
    return SeriesPlace(
        check_series(_field(value, "name", str, where), where),
        _field(value, "number", int, where),
        check_sha256(previous, where) if previous else "",
    )


def _item_to_json(item: ImageItem) -> dict[str, Any]:
    return {
        "image_id": item.image_id,
        "image": _ref_to_json(item.image),
        "width": item.width,
        "height": item.height,
        "sequence": item.sequence,
        "time": item.time,
    }


def _item_from_json(value: Any, where: str) -> ImageItem:
    width, height = _field(value, "width", int, where), _field(value, "height", int, where)
    time = float(_field(value, "time", (int, float), where))
    if width < 1 or height < 1 or not math.isfinite(time):
        raise BadInput(f"{where}: size {width}×{height} and time {time} must be positive and finite")
    return ImageItem(
        check_image_id(_field(value, "image_id", str, where), where),
        _ref_from_json(_field(value, "image", dict, where), f"{where}.image"),
        width,
        height,
        _field(value, "sequence", str, where),
        time,
    )


def _class_from_json(value: Any, where: str) -> ClassInfo:
    color = _list(value, "color", where)
    if len(color) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in color):
        raise BadInput(f"{where}.color: expected three integers 0-255, got {color!r}")
    return ClassInfo(_field(value, "name", str, where), (color[0], color[1], color[2]))


def _ref_to_json(ref: ObjectRef) -> dict[str, Any]:
    return {
        "bucket": ref.bucket,
        "key": ref.key,
        "sha256": ref.sha256,
        "size": ref.size,
        "media_type": ref.media_type,
    }


def _ref_from_json(value: Any, where: str) -> ObjectRef:
    size = _field(value, "size", int, where)
    if not 0 <= size < 2**63:
        raise BadInput(f"{where}.size: {size} is not a size in bytes")
    ref = ObjectRef(
        bucket=_field(value, "bucket", str, where),
        key=_field(value, "key", str, where),
        sha256=check_sha256(_field(value, "sha256", str, where), where),
        size=size,
        media_type=_field(value, "media_type", str, where),
    )
    if is_outside(ref):
        return check_outside(ref, where)
    check_key(ref.key, where)
    return ref


def _parse(data: bytes, kind: str, name: str) -> dict[str, Any]:
    try:
        top = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{name}: not JSON ({error}); import the data set again") from None
    if not isinstance(top, dict) or top.get("kind") != kind or top.get("version") != VERSION:
        raise BadInput(f"{name}: not a {kind} manifest of version {VERSION}; import the data set again")
    return top


def _field(value: Any, key: str, kind: type[T] | tuple[type[T], ...], where: str) -> T:
    if not isinstance(value, dict) or key not in value:
        raise BadInput(f"{where}.{key}: missing; import the data set again")
    found = value[key]
    if not isinstance(found, kind) or isinstance(found, bool):
        raise BadInput(f"{where}.{key}: {found!r:.80} has the wrong type; import the data set again")
    return found


def _list(value: Any, key: str, where: str) -> list[Any]:
    return _field(value, key, list, where)


def _check_unique(image_ids: list[str], where: str) -> None:
    seen: set[str] = set()
    for image_id in image_ids:
        if image_id in seen:
            raise BadInput(f"{where}: image id {image_id!r} appears twice; ids are unique in a split")
        seen.add(image_id)
