"""Images, label maps and region maps: bytes ↔ arrays, safely.

Only PNG and JPEG are read, each by its own parser: no format is guessed and no rarely used decoder is reachable. The
header is read and its size checked before a pixel is decoded, so a small file that claims to be huge costs nothing
(decoders that skip this allocate gigabytes for a file of 100 KB).

Orientation: an image whose EXIF tag asks viewers to turn it is refused. Some labelling tools apply the tag and some do
not, so a label map drawn on it may fit either way round; guessing would shift labels without any error.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from tessera.errors import BadInput
from tessera.formats.media import PNG

MAX_PIXELS = 64_000_000
MAX_SIDE = 20_000

UInt8 = npt.NDArray[np.uint8]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_BIT_DEPTH_OFFSET = 24
_ORIENTATION = 0x0112
# Exceptions of parsers on malformed bytes; Pillow raises MemoryError for some impossible chunk sizes.
_MALFORMED = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, EOFError, OverflowError)
_BROKEN = (*_MALFORMED, AttributeError, AssertionError, RuntimeError, ArithmeticError, MemoryError, struct.error)


@dataclass(frozen=True)
class ImageInfo:
    """An image's header: size in pixels, ``PNG`` or ``JPEG``, Pillow mode, bits per channel as stored."""

    width: int
    height: int
    format: str
    mode: str
    bits: int

    @property
    def extension(self) -> str:
        """File name extension without the dot."""
        return "png" if self.format == "PNG" else "jpg"

    @property
    def media_type(self) -> str:
        """MIME type of the bytes."""
        return PNG if self.format == "PNG" else "image/jpeg"


def probe(data: bytes, name: str) -> ImageInfo:
    """Read the header only and refuse images that must not be decoded.

    BadInput naming ``name`` for anything but PNG and JPEG, an unreadable header, a side of 0 or over 20,000 pixels,
    more than 64 million pixels, animations, and an EXIF orientation other than upright.
    """
    return _open(data, name)[1]


def decode_rgb(data: bytes, name: str) -> UInt8:
    """Decode an image to uint8 (H, W, 3), RGB.

    Gray and palette images are expanded, transparency is dropped. BadInput naming ``name`` as in `probe`, and for
    truncated data and for 16-bit gray and CMYK images.
    """
    image, info = _open_rgb(data, name)
    # Pillow warns about palette transparency on conversion; it is dropped anyway.
    image.info.pop("transparency", None)
    return np.array(image if info.mode == "RGB" else image.convert("RGB"))


def check_rgb(data: bytes, name: str) -> ImageInfo:
    """Decode an image as `decode_rgb` does, with the same errors, and return its header alone: a third of the time."""
    return _open_rgb(data, name)[1]


def _open_rgb(data: bytes, name: str) -> tuple[ImageFile.ImageFile, ImageInfo]:
    image, info = _open(data, name)
    if info.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise BadInput(f"{name}: pixel mode {info.mode} is not supported; convert it to 8-bit RGB")
    _load(image, name)
    return image, info


def decode_labels(
    data: bytes,
    name: str,
    classes: int | None = None,
    ignore_index: int = 255,
    shape: tuple[int, int] | None = None,
) -> UInt8:
    """Decode a label map to uint8 (H, W) of class indices.

    Accepts PNG with one channel: 8-bit gray, 1-bit, palette (the indices are the classes), or 16-bit gray whose values
    fit in 8 bits, as some tools write all maps. With ``classes`` every value must be below it or equal
    ``ignore_index``; with ``shape`` (H, W) the size must match. BadInput names the file, the value, its first position
    and the remedy.
    """
    image, info = _open(data, name)
    _require_png(info, name, "label map")
    wide = info.mode in ("I;16", "I") and info.bits == 16
    if not wide and (info.mode not in ("1", "L", "P") or (info.mode == "L" and info.bits != 8)):
        raise BadInput(
            f"{name}: a label map has one 8-bit channel of class indices, this one is {info.bits}-bit {info.mode}; "
            "write class indices as 8-bit gray or palette PNG"
        )
    if shape is not None and (info.height, info.width) != tuple(shape):
        raise BadInput(
            f"{name}: the label map is {info.width}×{info.height} pixels but its image is {shape[1]}×{shape[0]}; "
            "both need the same size"
        )
    _load(image, name)
    stored = np.array(image)
    if wide and int(stored.max()) > 255:
        large = stored > 255
        row, column = (int(index) for index in np.unravel_index(int(large.argmax()), large.shape))
        raise BadInput(
            f"{name}: value {int(stored[row, column])} at row {row}, column {column} ({int(large.sum())} such pixels) "
            "does not fit: labels have 8 bits, 255 classes at most; write the index of each pixel's class, and one "
            "value up to 255 where none is known, in place of ids of instances or of more classes"
        )
    labels = stored.astype(np.uint8, copy=False)
    if classes is not None:
        _check_range(labels, name, classes, ignore_index)
    return labels


def decode_map(data: bytes, name: str) -> npt.NDArray[np.int32]:
    """Decode a region map (8- or 16-bit one-channel PNG) to int32 (H, W); BadInput naming ``name`` otherwise."""
    image, info = _open(data, name)
    _require_png(info, name, "region map")
    if info.mode not in ("L", "I;16", "I") or info.bits not in (8, 16):
        raise BadInput(
            f"{name}: a region map has one 8- or 16-bit channel, this one is {info.bits}-bit {info.mode}; "
            "partition the images again"
        )
    _load(image, name)
    return np.array(image).astype(np.int32)


def encode_png(array: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    """Encode uint8 or uint16 (H, W), or uint8 (H, W, 3) RGB, without loss; equal arrays give equal bytes."""
    gray = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    rgb = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not (gray or rgb) or 0 in array.shape:
        raise BadInput(f"PNG: cannot encode {array.dtype} {array.shape}; give uint8/uint16 (H, W) or uint8 (H, W, 3)")
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(out, "PNG", compress_level=4)
    return out.getvalue()


def encode_indexed(labels: UInt8, colors: Sequence[tuple[int, int, int]]) -> bytes:
    """Encode uint8 (H, W) as PNG with a palette: ``colors`` of the values from 0 on, black for all others."""
    picture = Image.fromarray(np.ascontiguousarray(labels))
    picture.putpalette([channel for color in colors for channel in color] + [0] * (768 - 3 * len(colors)))
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=4)
    return out.getvalue()


def encode_jpeg(rgb: UInt8, quality: int = 92) -> bytes:
    """Encode uint8 (H, W, 3) RGB as JPEG without chroma subsampling; equal arrays give equal bytes."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise BadInput(f"JPEG: cannot encode {rgb.dtype} {rgb.shape}; give uint8 (H, W, 3)")
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(out, "JPEG", quality=quality, subsampling=0)
    return out.getvalue()


def _open(data: bytes, name: str) -> tuple[ImageFile.ImageFile, ImageInfo]:
    """Parse and check the header."""
    if not data:
        raise BadInput(f"{name}: the file is empty (0 bytes); restore it or remove it")
    # The parsers are called directly, not by Image.open: its size check comes after all parsers were tried, and uses
    # the process-wide warnings filters, which threads cannot change safely.
    parser: type[ImageFile.ImageFile]
    if data.startswith(_PNG):
        parser, bits = PngImagePlugin.PngImageFile, _png_bits(data)
        _check_size(*_png_size(data, name), name)
    elif data.startswith(_JPEG):
        parser, bits = JpegImagePlugin.JpegImageFile, 8
    else:
        raise BadInput(f"{name}: neither PNG nor JPEG (starts with {data[:8]!r}); convert it to one of these")
    try:
        image = parser(io.BytesIO(data))
        width, height = image.size
        animated = bool(getattr(image, "is_animated", False))
    except _BROKEN as error:
        raise BadInput(f"{name}: the header cannot be read ({error}); the file is damaged, replace it") from None
    _check_size(width, height, name)
    if animated:
        raise BadInput(f"{name}: an animation; extract the frames as single images")
    _check_upright(image, name)
    return image, ImageInfo(width, height, image.format or "", image.mode, bits)


def _png_size(data: bytes, name: str) -> tuple[int, int]:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise BadInput(f"{name}: the PNG header is cut off after {len(data)} bytes; the file is damaged, replace it")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _png_bits(data: bytes) -> int:
    return data[_PNG_BIT_DEPTH_OFFSET] if len(data) > _PNG_BIT_DEPTH_OFFSET else 0


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise BadInput(f"{name}: the image is {width}×{height} pixels; the file is damaged, replace it")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadInput(
            f"{name}: the image is {width}×{height} pixels ({width * height / 1e6:.0f} megapixels); at most "
            f"{MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE:,} pixels per side are read; cut or scale it"
        )


def _check_upright(image: ImageFile.ImageFile, name: str) -> None:
    raw = image.info.get("exif")
    if not raw:
        return
    try:
        exif = Image.Exif()
        exif.load(raw)
        orientation = exif.get(_ORIENTATION, 1)
    except _BROKEN:
        # Damaged metadata does not concern the pixels, which are decoded as stored.
        return
    if isinstance(orientation, int) and 2 <= orientation <= 8:
        raise BadInput(
            f"{name}: EXIF orientation {orientation} asks viewers to turn the image, so labels may not fit its pixels; "
            "turn the pixels and remove the tag (for example `mogrify -auto-orient`)"
        )


def _require_png(info: ImageInfo, name: str, what: str) -> None:
    if info.format != "PNG":
        raise BadInput(f"{name}: a {what} must be PNG, {info.format} changes the values; write it as PNG")


def _load(image: ImageFile.ImageFile, name: str) -> None:
    try:
        image.load()
    except _BROKEN as error:
        raise BadInput(f"{name}: the image is truncated or damaged ({error}); replace the file") from None


def _check_range(labels: UInt8, name: str, classes: int, ignore_index: int) -> None:
    wrong = (labels >= classes) & (labels != ignore_index)
    if wrong.any():
        row, column = (int(index) for index in np.unravel_index(int(wrong.argmax()), labels.shape))
        raise BadInput(
            f"{name}: class value {labels[row, column]} at row {row}, column {column} ({int(wrong.sum())} such pixels) "
            f"is out of range; allowed are 0 to {classes - 1} and {ignore_index} (ignored)"
        )
