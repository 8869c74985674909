"""Bytes of images and label maps, whether a data set stores files, records, or one class per image."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from tessera.datasets.files import read_file
from tessera.datasets.samples import LabelledImage, Record, Source
from tessera.errors import BadInput
from tessera.formats.images import UInt8, decode_labels, decode_rgb, encode_png
from tessera.formats.label_codes import index_png


def image_bytes(sample: LabelledImage) -> bytes:
    """Return the image as a file: its own bytes, or PNG where it is a record or is scaled. BadInput naming the file."""
    if sample.record is not None:
        return encode_png(_planes(sample, sample.record))
    data = read_file(sample.image_path)
    return data if sample.side is None else encode_png(square(decode_rgb(data, str(sample.image_path)), sample.side))


def label_bytes(sample: LabelledImage, source: Source, shape: tuple[int, int] | None) -> bytes:
    """Return the label map as PNG of class indices, checked; ``shape`` (H, W) is the size of the image, if known.

    In a data set of classification it is the image's one class everywhere. BadInput naming the file, as in `index_png`,
    and where a map of such a data set has several classes.
    """
    if sample.unlabelled:
        raise BadInput(f"{sample.image_path}: has no label map {sample.label_path}; add it or remove the image")
    if sample.label is not None:
        return _constant(sample.label, shape or (1, 1))
    name, classes = str(sample.label_path), source.classes
    data = index_png(
        read_file(sample.label_path), name, source.labels, len(classes.classes), classes.ignore_index, shape
    )
    if classes.task == "classification":
        found = np.unique(decode_labels(data, name))
        if len(found) != 1 or int(found[0]) == classes.ignore_index:
            raise BadInput(
                f"{name}: has classes {', '.join(map(str, found.tolist()[:8]))}, but the data set says that its task "
                "is classification, where an image has one; repair the map or set task to segmentation"
            )
    return data


def square(rgb: UInt8, side: int) -> UInt8:
    """Scale (H, W, 3) so that the shorter side has ``side`` pixels (bilinear) and cut out the middle square."""
    height, width = rgb.shape[:2]
    scale = side / min(height, width)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    scaled = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    return np.ascontiguousarray(scaled[top : top + side, left : left + side])


def _planes(sample: LabelledImage, record: Record) -> UInt8:
    size = 3 * record.height * record.width
    data = read_file(sample.image_path, size, record.start)
    if len(data) != size:
        raise BadInput(
            f"{sample.image_path}: ends within the image at byte {record.start}; unpack the data set's archive again"
        )
    planes = np.frombuffer(data, np.uint8).reshape(3, record.height, record.width)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


@functools.lru_cache(maxsize=1024)
def _constant(label: int, shape: tuple[int, int]) -> bytes:
    return encode_png(np.full(shape, label, np.uint8))
