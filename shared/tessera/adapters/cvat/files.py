"""What somebody exported from CVAT, whichever of the formats that are read it is."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tessera.adapters.cvat import images_xml, masks_zip
from tessera.adapters.cvat.shapes import CvatImage
from tessera.errors import BadInput

_MOST_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class CvatFile:
    """The images of one file."""

    images: tuple[CvatImage, ...]
    bare: bool
    """Whether they have areas alone, without regions and attributes: Segmentation mask 1.1."""
    assignee: str = ""
    """Who works on the task or job that was exported; empty where it does not say."""
    dumped: str = ""
    """When it was exported, ISO 8601; empty where it does not say."""


def read(data: bytes, name: str) -> CvatFile:
    """Read ``annotations.xml``, a zip that has it, or a zip of Segmentation mask 1.1.

    BadInput names the file: another format, a file over 1 GiB, and as in `images_xml.read` and `masks_zip.read`.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return _of([images_xml.read(data, name)])
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as found:
            inside = [one for one in found.infolist() if one.filename.rpartition("/")[2] == "annotations.xml"]
            if not inside:
                return CvatFile(tuple(masks_zip.read(data, name)), bare=True)
            if any(one.file_size > _MOST_BYTES for one in inside):
                raise BadInput(f"{name}: its annotations.xml has over {_MOST_BYTES:,} bytes; export fewer jobs at once")
            # One for each task of a project.
            return _of([images_xml.read(_bytes(found, one), f"{name}: {one.filename}") for one in inside])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise BadInput(f"{name}: cannot be unpacked ({error}); export it again") from None


def _bytes(found: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with found.open(entry) as opened:
        return opened.read(entry.file_size)


def _of(documents: Sequence[images_xml.CvatDocument]) -> CvatFile:
    images = tuple(image for one in documents for image in one.images)
    assignees = {one.assignee for one in documents}
    # CVAT writes "2026-01-01 12:00:00+00:00".
    dumped = max((one.dumped.replace(" ", "T", 1) for one in documents), default="")
    return CvatFile(images, False, assignees.pop() if len(assignees) == 1 else "", dumped)
