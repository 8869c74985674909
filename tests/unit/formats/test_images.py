"""Images, label maps and region maps: what round-trips and what is refused, with which words."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from tessera.errors import BadInput
from tessera.formats import images
from tessera.formats.label_codes import IdCode, index_png


def _saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _rgb(height: int = 24, width: int = 40) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 5, columns * 3, rows + columns], axis=2).astype(np.uint8)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=17)))
def test_label_maps_round_trip(labels: np.ndarray) -> None:
    assert np.array_equal(images.decode_labels(images.encode_png(labels), "x.png"), labels)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=17)))
def test_region_maps_round_trip(regions: np.ndarray) -> None:
    decoded = images.decode_map(images.encode_png(regions), "x.png")
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, regions)


def test_rgb_round_trips_through_png_and_nearly_through_jpeg() -> None:
    rgb = _rgb()
    assert np.array_equal(images.decode_rgb(images.encode_png(rgb), "x.png"), rgb)
    jpeg = images.decode_rgb(images.encode_jpeg(rgb, 95), "x.jpg")
    assert np.abs(jpeg.astype(int) - rgb).mean() < 3


def test_encoders_are_deterministic() -> None:
    assert images.encode_png(_rgb()) == images.encode_png(_rgb().copy(order="F"))
    assert images.encode_jpeg(_rgb(), 90) == images.encode_jpeg(_rgb().copy(), 90)


def test_probe_tells_the_header() -> None:
    png = images.probe(images.encode_png(_rgb()), "x")
    assert (png.width, png.height, png.format, png.mode, png.extension) == (40, 24, "PNG", "RGB", "png")
    jpeg = images.probe(images.encode_jpeg(_rgb()), "x")
    assert (jpeg.format, jpeg.extension, jpeg.media_type) == ("JPEG", "jpg", "image/jpeg")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_common_mode_becomes_rgb(mode: str) -> None:
    data = _saved(Image.fromarray(_rgb()).convert(mode))
    assert images.decode_rgb(data, "x").shape == (24, 40, 3)


def test_palette_transparency_is_dropped_without_a_warning() -> None:
    data = _saved(Image.fromarray(_rgb()).convert("P"), transparency=bytes(range(200)))
    assert images.decode_rgb(data, "x").shape == (24, 40, 3)


def test_palette_labels_are_indices_and_not_colours() -> None:
    labels = (np.arange(24 * 40).reshape(24, 40) % 3).astype(np.uint8)
    image = Image.fromarray(labels).convert("L")
    image.putpalette([90, 90, 90, 10, 200, 30, 250, 0, 0])
    assert np.array_equal(images.decode_labels(_saved(image), "x.png", classes=3), labels)


def test_binary_labels_are_zero_and_one() -> None:
    labels = _rgb()[..., 0] % 2
    data = _saved(Image.fromarray(labels.astype(bool)))
    assert np.array_equal(images.decode_labels(data, "x.png", classes=2), labels)


def test_class_out_of_range_names_file_value_place_and_range() -> None:
    labels = np.zeros((8, 9), np.uint8)
    labels[0, 1] = 255
    labels[5, 7] = labels[6, 0] = 11
    with pytest.raises(BadInput, match=r"a/b\.png: class value 11 at row 5, column 7 \(2 such.*0 to 10 and 255"):
        images.decode_labels(images.encode_png(labels), "a/b.png", classes=11)
    assert images.decode_labels(images.encode_png(labels), "x", classes=12)[5, 7] == 11


def test_label_size_mismatch_names_both_sizes() -> None:
    data = images.encode_png(np.zeros((8, 9), np.uint8))
    with pytest.raises(BadInput, match=r"m\.png: the label map is 9×8 pixels but its image is 10×8"):
        images.decode_labels(data, "m.png", shape=(8, 10))


def test_labels_of_16_bits_are_read_where_their_values_fit() -> None:
    labels = np.array([[0, 3, 255], [7, 1, 0]], np.uint16)
    data = images.encode_png(labels)
    assert images.probe(data, "m.png").bits == 16
    read = images.decode_labels(data, "m.png", classes=8, shape=(2, 3))
    assert read.dtype == np.uint8
    assert np.array_equal(read, labels)
    stored = index_png(data, "m.png", None, 8)  # what a data set keeps has 8 bits, whoever reads it
    assert images.probe(stored, "m.png").bits == 8
    assert np.array_equal(images.decode_labels(stored, "m.png"), labels)
    with pytest.raises(BadInput, match=r"^m\.png: .*7.*row 1, column 0"):
        images.decode_labels(data, "m.png", classes=7)
    code = IdCode("ids of a test", {0: 0, 1: 1, 3: 2, 7: 3, 255: 255})
    assert images.decode_labels(index_png(data, "m.png", code, 4), "m.png").tolist() == [[0, 2, 255], [3, 1, 0]]


@pytest.mark.parametrize("code", [None, IdCode("ids of a test", {0: 0})])
def test_values_that_8_bits_cannot_hold_are_named(code: IdCode | None) -> None:
    labels = np.zeros((3, 4), np.uint16)
    labels[1, 2:] = 26_001  # an id of an instance in Cityscapes
    with pytest.raises(
        BadInput, match=r"^m\.png: value 26001 at row 1, column 2 \(2 such pixels\) does not fit.*write the"
    ):
        index_png(images.encode_png(labels), "m.png", code, 3)


def _gray4() -> bytes:
    """A 4-bit gray PNG: its values are scaled by readers, so they are not class indices."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 4, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\x12\0\x34")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_saved(Image.fromarray(_rgb())), "8-bit RGB"),
        (_saved(Image.fromarray(_rgb()).convert("RGBA")), "RGBA"),
        (
            _saved(Image.fromarray(_rgb().astype(np.uint16)[..., 0] + 256)),
            "does not fit: labels have 8 bits, 255 classes",
        ),
        (_gray4(), "4-bit"),
        (_saved(Image.fromarray(_rgb()[..., 0]), "JPEG"), "must be PNG"),
    ],
)
def test_unsuitable_label_maps_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=rf"^lab\.png: .*{words}"):
        images.decode_labels(data, "lab.png")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"garbage, not an image", "neither PNG nor JPEG"),
        (_saved(Image.fromarray(_rgb()), "GIF"), "neither PNG nor JPEG"),
        (_saved(Image.fromarray(_rgb()), "TIFF"), "neither PNG nor JPEG"),
        (images.encode_png(_rgb())[:20], "header is cut off"),
        (images.encode_png(_rgb())[:-60], "truncated"),
        (images.encode_jpeg(_rgb())[:-60], "truncated"),
        (images.encode_jpeg(_rgb())[:30], "header cannot be read"),
        (_saved(Image.fromarray(_rgb()).convert("CMYK"), "JPEG"), "CMYK"),
        (_saved(Image.fromarray(_rgb()[..., 0].astype(np.uint16))), "I;16"),
    ],
)
def test_unreadable_images_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=rf"^dir/im\.jpg: .*{words}"):
        images.decode_rgb(data, "dir/im.jpg")


def test_zero_size_is_refused() -> None:
    data = bytearray(images.encode_png(_rgb()))
    data[16:20] = b"\0\0\0\0"
    with pytest.raises(BadInput, match="0×24"):
        images.probe(bytes(data), "x")


def test_turned_images_are_refused_and_upright_ones_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with pytest.raises(BadInput, match=r"EXIF orientation 6 .*auto-orient"):
        images.probe(_saved(Image.fromarray(_rgb()), "JPEG", exif=exif), "x.jpg")
    exif[0x0112] = 1
    assert images.probe(_saved(Image.fromarray(_rgb()), "JPEG", exif=exif), "x.jpg").width == 40


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(_rgb()), Image.fromarray(255 - _rgb())]
    with pytest.raises(BadInput, match="animation"):
        images.probe(_saved(frames[0], save_all=True, append_images=frames[1:]), "x.png")


def test_encoders_refuse_what_they_would_change() -> None:
    with pytest.raises(BadInput, match="float64"):
        images.encode_png(np.zeros((3, 3)))
    with pytest.raises(BadInput, match=r"\(0, 3\)"):
        images.encode_png(np.zeros((0, 3), np.uint8))
    with pytest.raises(BadInput, match="JPEG"):
        images.encode_jpeg(np.zeros((3, 3), np.uint8))
