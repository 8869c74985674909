"""Label maps in foreign ids or colours: each value, the first wrong pixel, and what must not be decoded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.formats.images import decode_labels, encode_jpeg, encode_png
from tessera.formats.label_codes import ColourCode, IdCode, decode_coded, index_png

IDS = IdCode("ids of the test", {0: 255, 7: 0, 200: 1})
COLOURS = ColourCode("colours of the test", {(0, 0, 0): 255, (255, 0, 1): 0, (255, 0, 0): 2, (1, 2, 3): 1})


def test_ids_become_indices() -> None:
    stored = np.array([[0, 7], [200, 7]], np.uint8)
    data = index_png(encode_png(stored), "a.png", IDS, 2, shape=(2, 2))
    assert decode_labels(data, "a.png", 2).tolist() == [[255, 0], [1, 0]]


def test_colours_become_indices() -> None:
    stored = np.array([[(0, 0, 0), (255, 0, 0)], [(255, 0, 1), (1, 2, 3)]], np.uint8)
    data = index_png(encode_png(stored), "a.png", COLOURS, 3, shape=(2, 2))
    assert decode_labels(data, "a.png", 3).tolist() == [[255, 2], [0, 1]]


def test_indices_are_kept_byte_for_byte_and_checked() -> None:
    data = encode_png(np.array([[0, 1]], np.uint8))
    assert index_png(data, "a.png", None, 2) is data
    with pytest.raises(BadInput, match=r"a\.png: class value 1 at row 0, column 1"):
        index_png(data, "a.png", None, 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_colours_equal_a_plain_look_up(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    table = {
        tuple(int(part) for part in colour): at % 255 for at, colour in enumerate(rng.integers(0, 256, (count, 3)))
    }
    colours = list(table)
    stored = np.array([[colours[at] for at in row] for row in rng.integers(0, len(colours), (5, 7))], np.uint8)
    expected = [[table[tuple(int(part) for part in pixel)] for pixel in row] for row in stored]
    assert decode_coded(encode_png(stored), "a.png", ColourCode("c", table)).tolist() == expected


def test_unknown_values_name_file_value_and_place() -> None:
    ids = np.full((3, 4), 7, np.uint8)
    ids[1, 2] = ids[2, 3] = 8
    with pytest.raises(BadInput, match=r"x\.png: value 8 at row 1, column 2 \(2 such pixels\) .* 3 ids of the test"):
        index_png(encode_png(ids), "x.png", IDS, 2)
    rgb = np.zeros((3, 4, 3), np.uint8)
    rgb[2, 0] = (255, 1, 0)
    with pytest.raises(BadInput, match=r"x\.png: colour \(255, 1, 0\) at row 2, column 0 \(1 such pixels\)"):
        index_png(encode_png(rgb), "x.png", COLOURS, 3)
    # Beyond the largest colour of the table as well.
    rgb[2, 0] = (255, 255, 255)
    with pytest.raises(BadInput, match=r"colour \(255, 255, 255\)"):
        index_png(encode_png(rgb), "x.png", COLOURS, 3)


@pytest.mark.parametrize("code", [IDS, COLOURS])
def test_size_format_and_damage(code: IdCode | ColourCode) -> None:
    rgb = np.zeros((3, 4, 3), np.uint8)
    data = encode_png(rgb[..., 0] if isinstance(code, IdCode) else rgb)
    with pytest.raises(BadInput, match="the label map is 4×3 pixels but its image is 5×3"):
        index_png(data, "x.png", code, 3, shape=(3, 5))
    with pytest.raises(BadInput, match="must be PNG"):
        index_png(encode_jpeg(rgb), "x.png", code, 3)
    with pytest.raises(BadInput, match=r"x\.png: "):
        index_png(data[:45], "x.png", code, 3)
