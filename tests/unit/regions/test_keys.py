"""Keys of regions against plain pairs and dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.regions.keys import RegionKeys

IDS = st.sampled_from(["a", "b", "B", "a.10", "a.9", "é", "ab", ""])
PAIRS = st.lists(st.tuples(IDS, st.sampled_from([0, 1, 2, 7, 2**31 - 1])), max_size=30)


def encoded(pairs):
    return RegionKeys.encode([image for image, _ in pairs], [region for _, region in pairs])


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_encoding_keeps_every_pair_and_names_are_in_code_point_order(pairs):
    keys = encoded(pairs)
    assert keys.image_names.tolist() == sorted({image for image, _ in pairs})
    assert list(zip(keys.image_names[keys.image], keys.region_id.tolist(), strict=True)) == pairs
    assert [keys.name(row) for row in range(len(keys))] == [f"region {r} of image {i}" for i, r in pairs]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(IDS, st.integers(0, 5)), max_size=30, unique=True), st.data())
def test_order_sorts_pairs(pairs, data):
    keys = encoded(pairs)
    assert [pairs[row] for row in keys.order()] == sorted(pairs)
    if pairs:
        again = data.draw(st.sampled_from(pairs))
        with pytest.raises(BadInput, match=f"region {again[1]} of image {again[0]} appears twice"):
            encoded([*pairs, again]).order()


@settings(deadline=None, max_examples=100)
@given(PAIRS, PAIRS)
def test_locate_finds_the_first_row_of_every_pair(pairs, wanted):
    expected = [pairs.index(pair) if pair in pairs else -1 for pair in wanted]
    assert encoded(pairs).locate(encoded(wanted)).tolist() == expected
    assert encoded(pairs).locate(encoded(pairs)).tolist() == [pairs.index(pair) for pair in pairs]


def test_keys_after_take_still_find_each_other():
    keys = encoded([("a", 3), ("b", 1), ("c", 0)])
    part = keys.take(np.array([2, 0]))
    assert keys.locate(part).tolist() == [2, 0]
    assert part.locate(keys).tolist() == [1, -1, 0]


def test_ids_that_cannot_be_packed_are_refused():
    with pytest.raises(BadInput, match=r"region id -1 of image b"):
        RegionKeys.encode(["a", "b"], [0, -1])
    with pytest.raises(BadInput, match=r"region id 2147483648 of image a"):
        RegionKeys.encode(["a"], [2**31])
    with pytest.raises(BadInput, match="image_id has 2 rows and region_id 1"):
        RegionKeys.encode(["a", "b"], [0])
