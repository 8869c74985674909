"""Check the header of every file of a data set, without decoding a pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tessera.datasets.files import read_file
from tessera.datasets.samples import Problems, Source
from tessera.errors import BadInput
from tessera.formats.images import ImageInfo, probe

_HEAD: Final = 1 << 16
"""Bytes in which a header usually ends; one that does not (long metadata) is read from the whole file."""


def check_headers(source: Source, problems: Problems, progress: Callable[[int, int, str], None] | None = None) -> None:
    """Report every file that an import would refuse because of its header, by name.

    Looks for: empty files, bombs (`formats.images.probe`), other formats than PNG and JPEG, files that are no regular
    ones, and label maps that are no PNG or of another size than their image. Problems that only decoding finds
    (truncated pixels, class values out of range) are left to the import.
    """
    samples = [sample for split in source.splits.values() for sample in split]
    for done, sample in enumerate(samples, start=1):
        # A record has no header, and a class of a whole image no map.
        image = None if sample.record else _header(sample.image_path, problems)
        label = None if sample.label is not None or sample.unlabelled else _header(sample.label_path, problems)
        if label is not None and label.format != "PNG":
            problems.add(f"{sample.label_path}: a label map must be PNG, {label.format} changes the values")
        if image and label and (image.width, image.height) != (label.width, label.height):
            problems.add(
                f"{sample.label_path}: the label map is {label.width}×{label.height} pixels but its image "
                f"{sample.image_path} is {image.width}×{image.height}; both need the same size"
            )
        if progress is not None:
            progress(done, len(samples), "headers")


def _header(path: Path, problems: Problems) -> ImageInfo | None:
    try:
        head = read_file(path, _HEAD)
        try:
            return probe(head, str(path))
        except BadInput:
            if len(head) < _HEAD:
                raise
            return probe(read_file(path), str(path))
    except BadInput as error:
        problems.add(str(error))
        return None
