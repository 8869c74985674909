"""Small data set folders in published layouts, written by the tests that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tessera.datasets.samples import Sample, Source
from tessera.formats.images import decode_labels, encode_jpeg, encode_png
from tessera.formats.label_codes import index_png

SHAPE = (4, 6)


def image(path: Path, shape: tuple[int, int] = SHAPE) -> None:
    """An image of one gray."""
    _write(path, (encode_png if path.suffix == ".png" else encode_jpeg)(np.full((*shape, 3), 90, np.uint8)))


def mask(path: Path, values: Sequence[int] = (0,), shape: tuple[int, int] = SHAPE) -> None:
    """A one-channel label map that holds these values, row by row, and then the last one."""
    flat = np.full(shape[0] * shape[1], values[-1], np.uint8)
    flat[: len(values)] = values
    _write(path, encode_png(flat.reshape(shape)))


def colours(path: Path, values: Sequence[tuple[int, int, int]], shape: tuple[int, int] = SHAPE) -> None:
    """An RGB label map that holds these colours, row by row, and then the last one."""
    flat = np.full((shape[0] * shape[1], 3), values[-1], np.uint8)
    flat[: len(values)] = values
    _write(path, encode_png(flat.reshape((*shape, 3))))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def ids(source: Source) -> Mapping[str, list[str]]:
    """Image ids by split."""
    return {split: [sample.image_id for sample in of] for split, of in source.splits.items()}


def indices(source: Source, sample: Sample) -> list[int]:
    """The class indices of a sample's label map, row by row."""
    classes = source.classes
    data = index_png(
        sample.label_path.read_bytes(),
        sample.label_path.name,
        source.labels,
        len(classes.classes),
        classes.ignore_index,
    )
    return [int(value) for value in decode_labels(data, "label", len(classes.classes), classes.ignore_index).ravel()]
