"""Hostile images: bombs cost nothing, mutated bytes raise BadInput and nothing else."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.formats import images


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _zero_png(width: int, height: int, block: int = 500) -> bytes:
    """A valid, all-black gray PNG made without its pixels: one deflated block of rows, repeated."""
    assert height % block == 0
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    rows = deflate.compress(bytes((width + 1) * block)) + deflate.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15).flush(zlib.Z_FINISH)
    # Adler-32 of n zero bytes: low half 1, high half n mod 65521.
    adler = struct.pack(">HH", (width + 1) * height % 65521, 1)
    data = b"\x78\x9c" + rows * (height // block) + last + adler
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def test_the_bomb_writer_writes_valid_images() -> None:
    decoded = images.decode_labels(_zero_png(600, 1000), "x.png")
    assert decoded.shape == (1000, 600)
    assert not decoded.any()


_MEASURE = """
import re, sys, time
from tessera.errors import BadInput
from tessera.formats import images
data = open(sys.argv[1], "rb").read()
start = time.process_time()
for decode in (images.probe, images.decode_rgb, images.decode_labels, images.decode_map):
    try:
        decode(data, "bomb")
    except BadInput as error:
        print(error)
seconds = time.process_time() - start
# Not getrusage: its peak starts from the parent's size, which the child has until exec.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(seconds, peak / 1024)
"""


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (30_000, 30_000, "30000×30000 pixels (900 megapixels); at most 64 megapixels and 20,000 pixels per side"),
        (12_000, 12_000, "144 megapixels"),
        (20_500, 500, "20500×500"),
    ],
)
def test_bombs_are_refused_quickly_and_in_little_memory(tmp_path: Path, width: int, height: int, words: str) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_zero_png(width, height))
    assert path.stat().st_size < 2_000_000
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _MEASURE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *messages, numbers = done.stdout.splitlines()
    seconds, megabytes = map(float, numbers.split())
    print(f"{width}×{height}: {path.stat().st_size} bytes, {seconds * 1e3:.1f} ms, {megabytes:.0f} MB")
    assert len(messages) == 4
    assert all(words in message for message in messages)
    assert seconds < 0.5
    assert megabytes < 200


def test_a_header_that_claims_the_largest_size_is_refused() -> None:
    data = bytearray(_zero_png(500, 500))
    data[16:24] = b"\xff" * 8
    with pytest.raises(BadInput, match="4294967295×4294967295"):
        images.probe(bytes(data), "x.png")
    jpeg = bytearray(images.encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(BadInput, match="65535×65535"):
        images.probe(bytes(jpeg), "x.jpg")


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_compressed_metadata_bombs_stay_small(tmp_path: Path, kind: bytes) -> None:
    packed = zlib.compress(bytes(300_000_000), 9)
    body = {b"zTXt": b"k\0\0", b"iCCP": b"k\0\0", b"iTXt": b"k\0\1\0\0\0"}[kind] + packed
    plain = _zero_png(500, 500)
    path = tmp_path / "text.png"
    path.write_bytes(plain[:33] + _chunk(kind, body) + plain[33:])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _MEASURE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    seconds, megabytes = map(float, done.stdout.splitlines()[-1].split())
    assert seconds < 0.5
    assert megabytes < 200


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"SIMPLE  =                    T" + b" " * 2850,
        b"II*\0" + bytes(100),
        b"RIFF\x24\0\0\0WEBPVP8 " + bytes(40),
        b"%PDF-1.7",
        b"\0\0\0\x0cjP  \r\n\x87\n",
    ],
)
def test_formats_that_are_not_listed_reach_no_parser(data: bytes) -> None:
    with pytest.raises(BadInput, match="neither PNG nor JPEG"):
        images.probe(data, "x")


def _seeds() -> list[bytes]:
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    gray = rng.integers(0, 9, (12, 16), dtype=np.uint8)
    png16 = images.encode_png(gray.astype(np.uint16) * 999)
    return [images.encode_png(rgb), images.encode_jpeg(rgb, 80), images.encode_png(gray), png16]


_SEEDS = _seeds()


def _mutate(seed: int, edits: list[tuple[int, bytes]], cut: int) -> bytes:
    data = bytearray(_SEEDS[seed])
    for at, new in edits:
        at %= len(data) + 1
        data[at : at + len(new)] = new
    return bytes(data[: len(data) - cut % (len(data) + 1)])


_mutations = given(
    st.integers(0, len(_SEEDS) - 1),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), max_size=6),
    st.one_of(st.just(0), st.integers(0, 1 << 16)),
    st.booleans(),
)


@settings(deadline=5000, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@_mutations
def test_mutated_files_raise_bad_input_only(seed: int, edits: list[tuple[int, bytes]], cut: int, fix: bool) -> None:
    _decoded(seed, edits, cut, fix)


@pytest.mark.full
@settings(deadline=5000, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
@_mutations
def test_five_thousand_mutated_files_do(seed: int, edits: list[tuple[int, bytes]], cut: int, fix: bool) -> None:
    _decoded(seed, edits, cut, fix)


def _decoded(seed: int, edits: list[tuple[int, bytes]], cut: int, fix: bool) -> None:
    """Decode a mutated file in every way; anything but BadInput, a warning included, fails the test."""
    data = _mutate(seed, edits, cut)
    if fix and data.startswith(b"\x89PNG"):
        data = _with_valid_checksums(data)
    for decode in (images.probe, images.decode_rgb, images.decode_labels, images.decode_map):
        with contextlib.suppress(BadInput):
            decode(data, "fuzz")


def _with_valid_checksums(data: bytes) -> bytes:
    """Recompute chunk checksums, so that mutations get past them and into the parsers."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        out += _chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return bytes(out + data[at:])
