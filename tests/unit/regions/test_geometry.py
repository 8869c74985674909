import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tessera.errors import BadInput
from tessera.regions import adjacency, boundaries, boundary_band, compact, outlines, region_table

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


@settings(deadline=None)
@given(maps, st.sampled_from([0, 1, 3, 5, 7]))
def test_boundary_band_against_brute_force(raw, width):
    edge, reach = boundaries(raw), width // 2
    expected = np.zeros(raw.shape, bool)
    for y, x in np.ndindex(*raw.shape):
        near = edge[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        expected[y, x] = width > 0 and near.any()
    assert (boundary_band(raw, width) == expected).all()


def test_boundary_band_is_the_published_trim():
    """MulActSeg's code: find_boundaries(mode="thick") dilated with a 5 × 5 square."""
    from skimage.morphology import dilation, footprint_rectangle
    from skimage.segmentation import find_boundaries

    rng = np.random.default_rng(0)
    regions = np.kron(rng.integers(0, 6, (9, 7)), np.ones((8, 9), int)).astype(np.int32)
    expected = dilation(find_boundaries(regions, mode="thick").astype(np.uint8), footprint_rectangle((5, 5)))
    assert (boundary_band(regions) == expected.astype(bool)).all()
    assert boundary_band(regions).dtype == np.bool_


@pytest.mark.parametrize("width", [-1, 2, 4])
def test_boundary_band_needs_a_square_with_a_middle(width):
    with pytest.raises(BadInput, match=f"width {width}; give 0 for none, or an odd number"):
        boundary_band(np.zeros((3, 3), np.int32), width)


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
