import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.regions import PARTITIONS, needs_image, partition

sizes = st.integers(1, 40)


def brute_edges(length, cells):
    return [i * length // cells for i in range(cells + 1)]


@settings(deadline=None)
@given(sizes, sizes, st.data())
def test_grid_covers_every_pixel_with_nearly_equal_cells(height, width, data):
    rows, cols = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    regions = partition("grid", {"rows": rows, "cols": cols}, (height, width))
    assert regions.shape == (height, width)
    assert regions.dtype == np.int32
    assert np.unique(regions).tolist() == list(range(rows * cols))
    heights, widths = set(), set()
    for region in range(rows * cols):
        ys, xs = np.nonzero(regions == region)
        h, w = ys.max() - ys.min() + 1, xs.max() - xs.min() + 1
        assert len(ys) == h * w, "a cell is a full rectangle"
        heights.add(int(h))
        widths.add(int(w))
    assert max(heights) - min(heights) <= 1
    assert max(widths) - min(widths) <= 1
    # Row-major: the first pixels of the cells come in reading order of their cells.
    firsts = [tuple(np.argwhere(regions == region)[0]) for region in range(rows * cols)]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({}, 16),
        ({"rows": 5, "cols": 5}, 25),
        ({"height": 90, "width": 120}, 16),
        ({"height": 32, "width": 32}, 180),  # counts of the notes' CamVid table
        ({"height": 30, "width": 30}, 192),
        ({"height": 72, "width": 96}, 25),
        ({"height": 999, "width": 999}, 1),
    ],
)
def test_grid_counts_at_camvid_size(params, count):
    regions = partition("grid", params, (360, 480))
    assert regions.max() + 1 == count
    if "height" in params:
        ys, xs = np.nonzero(regions == 0)
        assert ys.max() + 1 <= params["height"]
        assert xs.max() + 1 <= params["width"]


@pytest.mark.parametrize(
    "params",
    [{"rows": 4}, {"rows": 4, "cols": 4, "height": 3}, {"rows": 0, "cols": 4}, {"height": 8}, {"rows": 2, "width": 3}],
)
def test_grid_refuses_half_a_pair(params):
    with pytest.raises(BadInput, match=r"partition\.grid"):
        PARTITIONS.parameters("grid", params)


def test_more_cells_than_pixels_is_bad_input():
    with pytest.raises(BadInput, match="fewer cells"):
        partition("grid", {"rows": 11, "cols": 2}, (10, 10))


def test_more_regions_than_a_map_can_store_is_bad_input():
    with pytest.raises(BadInput, match="larger regions"):
        partition("grid", {"rows": 300, "cols": 300}, (300, 300))


def test_defaults_are_canonical_and_json_is_read():
    canonical = PARTITIONS.canonical("grid", {})
    assert canonical == PARTITIONS.canonical("grid", {"rows": 4, "cols": 4})
    assert partition("grid", canonical, (8, 8)).max() == 15


def test_image_is_one_region_and_pixels_are_not_needed():
    assert (partition("image", {}, np.zeros((3, 5, 3), np.uint8)) == np.zeros((3, 5))).all()
    assert not needs_image("image")
    assert not needs_image("grid")


def test_unknown_method_and_empty_image():
    with pytest.raises(BadInput, match="grid"):
        partition("gird", {}, (4, 4))
    with pytest.raises(BadInput, match="at least 1 pixel"):
        partition("image", {}, (0, 4))
