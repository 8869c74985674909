"""The rule of drawn shapes, against the rule written down pixel by pixel in fractions."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tessera.queries.drawing import UNIT, polygon, stroke
from tessera.regions import outlines

BOX = (3, 5, 17, 21)
CORNERS = st.integers(0, 24).map(lambda pixel: UNIT * pixel)
CENTRES = st.integers(0, 24).map(lambda pixel: UNIT * pixel + UNIT // 2)
COORDINATES = st.one_of(st.integers(-40, 400), CORNERS, CENTRES)


def slow_polygon(points, box):
    y0, x0, y1, x1 = box
    found = np.zeros((y1 - y0, x1 - x0), bool)
    for y in range(y0, y1):
        for x in range(x0, x1):
            cx, cy = UNIT * x + UNIT // 2, UNIT * y + UNIT // 2
            for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
                if min(ay, by) <= cy < max(ay, by):
                    crossing = ax + Fraction((cy - ay) * (bx - ax), by - ay)
                    found[y - y0, x - x0] ^= cx >= crossing
    return found


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=9))
def test_polygons_follow_the_rule(points):
    assert np.array_equal(polygon(points, BOX), slow_polygon(points, BOX))


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=4), st.integers(0, 90))
def test_strokes_follow_the_rule(points, radius):
    y0, x0, y1, x1 = BOX
    expected = np.array(
        [
            [
                any((UNIT * x + 8 - a) ** 2 + (UNIT * y + 8 - b) ** 2 <= radius**2 for a, b in points)
                for x in range(x0, x1)
            ]
            for y in range(y0, y1)
        ]
    )
    assert np.array_equal(stroke(points, radius, BOX), expected)


def test_an_outline_on_the_pixel_grid_gives_the_region_back():
    rng = np.random.default_rng(0)
    regions = np.kron(rng.integers(0, 3, (5, 6)), np.ones((3, 2), int)).astype(np.int32)
    regions = np.unique(regions, return_inverse=True)[1].reshape(regions.shape).astype(np.int32)
    for region, loops in outlines(regions).items():
        covered = np.zeros(regions.shape, bool)
        for loop in loops:
            covered ^= polygon([(UNIT * int(x), UNIT * int(y)) for x, y in loop], (0, 0, *regions.shape))
        assert np.array_equal(covered, regions == region)


def test_two_polygons_that_share_an_edge_leave_no_gap_and_no_overlap():
    left = [(0, 0), (77, 0), (131, 256), (0, 256)]
    right = [(77, 0), (256, 0), (256, 256), (131, 256)]
    box = (0, 0, 16, 16)
    assert np.array_equal(polygon(left, box), ~polygon(right, box))
