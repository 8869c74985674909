import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tessera.errors import BadInput
from tessera.regions import adjacency, boundaries, compact, outlines, region_table

maps = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 5))


@settings(deadline=None)
@given(maps)
def test_compact_and_table_against_brute_force(raw):
    regions, old = compact(raw)
    assert (old[regions] == raw).all()
    first = [int(np.argmax(regions.ravel() == i)) for i in range(len(old))]
    assert first == sorted(first)
    table = region_table(regions)
    assert len(table) == len(old)
    for region in range(len(old)):
        ys, xs = np.nonzero(regions == region)
        assert table.pixels[region] == len(ys)
        assert table.box(region) == (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1)


@settings(deadline=None)
@given(maps, st.booleans())
def test_adjacency_against_brute_force(raw, diagonal):
    regions, _ = compact(raw)
    expected = set()
    steps = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if diagonal else [])
    for y, x in np.ndindex(*regions.shape):
        for dy, dx in steps:
            if 0 <= y + dy < regions.shape[0] and 0 <= x + dx < regions.shape[1]:
                a, b = int(regions[y, x]), int(regions[y + dy, x + dx])
                if a != b:
                    expected.add((min(a, b), max(a, b)))
    assert [tuple(pair) for pair in adjacency(regions, diagonal).tolist()] == sorted(expected)


@settings(deadline=None)
@given(maps)
def test_boundaries_against_brute_force(raw):
    expected = np.zeros(raw.shape, bool)
    for y, x in np.ndindex(*raw.shape):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            inside = 0 <= y + dy < raw.shape[0] and 0 <= x + dx < raw.shape[1]
            expected[y, x] |= inside and raw[y, x] != raw[y + dy, x + dx]
    assert (boundaries(raw) == expected).all()


def inside(polygons, y, x):
    """Even-odd rule by a ray from the pixel's centre to the right."""
    crossings = 0
    for polygon in polygons:
        for (xa, ya), (xb, yb) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            crossings += xa == xb and xa > x + 0.5 and min(ya, yb) < y + 0.5 < max(ya, yb)
    return crossings % 2 == 1


@settings(deadline=None)
@given(maps)
def test_outlines_cover_exactly_the_region(raw):
    regions, _ = compact(raw)
    table = region_table(regions)
    for region, polygons in outlines(regions).items():
        area = 0
        for polygon in polygons:
            x, y = polygon[:, 0].astype(int), polygon[:, 1].astype(int)
            area += int((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) // 2
            sides = np.roll(polygon, -1, axis=0) - polygon
            assert ((sides == 0).sum(axis=1) == 1).all(), "axis-parallel sides, no repeated corner"
            assert ((sides[:, 0] == 0) != (np.roll(sides, 1, axis=0)[:, 0] == 0)).all(), "every point is a corner"
        assert area == table.pixels[region]
        for y, x in np.ndindex(*regions.shape):
            assert inside(polygons, y, x) == (regions[y, x] == region)


def test_outline_of_a_grid_cell_is_its_box():
    regions = np.array([[0, 0, 1], [0, 0, 1]], np.int32)
    assert outlines(regions, [1])[1][0].tolist() == [[2, 0], [3, 0], [3, 2], [2, 2]]
    with pytest.raises(BadInput, match="region 7"):
        outlines(regions, [7])


def test_bad_maps_are_refused():
    with pytest.raises(BadInput, match="skips id 1"):
        region_table(np.array([[0, 2]], np.int32))
    with pytest.raises(BadInput, match="negative"):
        region_table(np.array([[0, -1]], np.int32))
    with pytest.raises(BadInput, match="non-empty"):
        region_table(np.zeros((0, 3), np.int32))
