"""CVAT's Segmentation mask 1.1: a zip with one coloured PNG of classes and one of instances per image.

``labelmap.txt`` (label:r,g,b::), ``ImageSets/Segmentation/default.txt`` (names without endings),
``SegmentationClass/NAME.png``, ``SegmentationObject/NAME.png``: the layout of PASCAL VOC, as CVAT's exporter
(cvat/apps/dataset_manager/formats/mask.py, by datumaro's ``voc_segmentation``) writes it. Every pixel has at most one
class and there are no attributes: it holds answers about pixels and nothing else.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tessera.adapters.cvat.shapes import CvatImage, CvatLabel, CvatShape, layers, mask_shape
from tessera.errors import BadInput
from tessera.formats import images

_CLASS: Final = "SegmentationClass/"
_OBJECT: Final = "SegmentationObject/"
_LABELS: Final = "labelmap.txt"
_MOST_BYTES: Final = 1 << 30
"""Of one file after unpacking."""
_ZEROED: Final = (1980, 1, 1, 0, 0, 0)


def write(labels: Sequence[CvatLabel], pictures: Iterable[CvatImage]) -> bytes:
    """Return the zip of these images: areas of ``labels`` painted over each other, black where there is none.

    ``labels`` are those that pixels may have; areas of others are left out. Equal content gives equal bytes. BadInput:
    a name that ``labelmap.txt`` cannot hold, two labels of one colour, more than 255 labels.
    """
    colors = _colors(labels)
    names = {label.name.casefold() for label in labels}
    ground = next(name for name in ("background", "unlabelled", "black") if name not in names)
    lines = ["# label:color_rgb:parts:actions", f"{ground}:0,0,0::"]
    lines += [f"{label.name}:{','.join(map(str, color))}::" for label, color in zip(labels, colors, strict=True)]
    planes = np.array([(0, 0, 0), *colors], np.uint8)
    instances = np.array([voc_color(index) for index in range(256)], np.uint8)
    # 0 is the ground.
    values = {label.name: index for index, label in enumerate(labels, 1)}
    stems, out = list[str](), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for picture in pictures:
            stem = picture.name.rpartition(".")[0] or picture.name
            stems.append(stem)
            raster = np.zeros((picture.height, picture.width), np.uint8)
            for value, pixels in layers(picture.shapes, values, (0, 0, picture.height, picture.width)):
                raster[pixels] = value
            _add(made, f"{_CLASS}{stem}.png", images.encode_png(planes[raster]))
            # One instance for each class: these labels tell stuff apart, not things.
            _add(made, f"{_OBJECT}{stem}.png", images.encode_png(instances[raster]))
        _add(made, "ImageSets/Segmentation/default.txt", "".join(f"{stem}\n" for stem in stems).encode())
        _add(made, _LABELS, "".join(f"{line}\n" for line in lines).encode())
    return out.getvalue()


def _add(made: zipfile.ZipFile, name: str, data: bytes) -> None:
    made.writestr(zipfile.ZipInfo(name, _ZEROED), data, zipfile.ZIP_DEFLATED)


def _colors(labels: Sequence[CvatLabel]) -> list[tuple[int, int, int]]:
    if len(labels) > 255:
        raise BadInput(f"{len(labels)} labels: a segmentation mask holds at most 255; write CVAT for images")
    colors: dict[tuple[int, int, int], str] = {(0, 0, 0): "no label"}
    for label in labels:
        if not label.name or any(letter in ":#\n" or not letter.isprintable() for letter in label.name):
            raise BadInput(f"label {label.name!a}: {_LABELS} holds no ':', '#' or line end; write CVAT for images")
        code = int(label.color.removeprefix("#"), 16)
        color = code >> 16, code >> 8 & 255, code & 255
        if color in colors:
            raise BadInput(f"label {label.name!a}: has the colour {label.color} of {colors[color]!a}; change one")
        colors[color] = label.name
    return list(colors)[1:]


def voc_color(index: int) -> tuple[int, int, int]:
    """Return the colour of a number in PASCAL VOC's palette: its bits, spread over the three channels from the top."""
    red = green = blue = 0
    for place in range(7, -1, -1):
        red, green, blue = (
            red | (index & 1) << place,
            green | (index >> 1 & 1) << place,
            blue | (index >> 2 & 1) << place,
        )
        index >>= 3
    return red, green, blue


def read(data: bytes, name: str) -> list[CvatImage]:
    """Return the images of a zip that CVAT or another tool wrote, one mask for each label that occurs in them.

    Names have no ending. Pictures have colours of ``labelmap.txt``, or are gray with the numbers of its lines. BadInput
    names the file: no zip, no labels or no pictures in it, a colour that is none of the labels, a file over 1 GiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as found:
            entries = {one.filename: one for one in found.infolist() if not one.is_dir()}
            root = _root(entries, name)
            labels = _labels(_entry(found, entries[f"{root}{_LABELS}"], name), f"{name}: {_LABELS}")
            folder = f"{root}{_CLASS}"
            return [
                _picture(_entry(found, entry, name), path[len(folder) : -len(".png")], labels, f"{name}: {path}")
                for path, entry in sorted(entries.items())
                if path.startswith(folder) and path.endswith(".png")
            ]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise BadInput(f"{name}: cannot be unpacked ({error}); export it again") from None


def _root(entries: Mapping[str, zipfile.ZipInfo], name: str) -> str:
    """Return the folder that holds everything, with its slash; BadInput where there is no such folder."""
    for path in sorted(entries, key=len):
        if path == _LABELS or path.endswith(f"/{_LABELS}"):
            root = path[: -len(_LABELS)]
            if any(one.startswith(f"{root}{_CLASS}") for one in entries):
                return root
    raise BadInput(f"{name}: has no {_LABELS} beside {_CLASS}; export as Segmentation mask 1.1")


def _entry(found: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> bytes:
    if entry.file_size > _MOST_BYTES:
        raise BadInput(f"{name}: {entry.filename} has {entry.file_size:,} bytes; at most {_MOST_BYTES:,} are read")
    with found.open(entry) as opened:
        # The size in the directory is what a writer says; no more than this is unpacked.
        return opened.read(entry.file_size)


def _labels(text: bytes, name: str) -> list[tuple[str, tuple[int, int, int]]]:
    labels: list[tuple[str, tuple[int, int, int]]] = []
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        label, *rest = line.split(":")
        parts = (rest[0] if rest else "").split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in parts):
            raise BadInput(f"{name}: line {number}: {line[:80]!a} is no label:r,g,b::; export it again")
        red, green, blue = map(int, parts)
        labels.append((label, (red, green, blue)))
    if not labels:
        raise BadInput(f"{name}: names no label; export it again")
    return labels


def _picture(data: bytes, stem: str, labels: Sequence[tuple[str, tuple[int, int, int]]], name: str) -> CvatImage:
    info = images.probe(data, name)
    rgb = images.decode_rgb(data, name)
    if info.mode == "L":
        codes, meant = rgb[..., 0].astype(np.int64), {index: label for index, (label, _) in enumerate(labels)}
    else:
        codes = rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        meant = {red << 16 | green << 8 | blue: label for label, (red, green, blue) in labels}
    ground = next((label for label, color in labels if color == (0, 0, 0)), "")
    shapes = tuple(_shapes(codes, meant, ground, name))
    return CvatImage(stem, rgb.shape[1], rgb.shape[0], shapes)


def _shapes(codes: NDArray[np.int64], meant: Mapping[int, str], ground: str, name: str) -> Iterator[CvatShape]:
    for code in np.unique(codes).tolist():
        if code not in meant and code:
            raise BadInput(f"{name}: the colour #{code:06x} is none of {_LABELS}; export it again")
        label = meant.get(code, ground)
        if label != ground:
            yield CvatShape("mask", label, mask_shape(codes == code), {}, 0, "file")
