import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tessera.errors import BadInput
from tessera.queries import FORMATS, Question, ask
from tessera.regions import compact, region_table

IGNORE = 255


def question(labels, regions, region_id):
    return Question.of("a", labels, regions, region_id, region_table(regions).box(region_id), IGNORE)


def components(mask):
    """8-connected components by flood fill."""
    left = {tuple(p) for p in np.argwhere(mask).tolist()}
    found = []
    while left:
        stack = [left.pop()]
        component = set(stack)
        while stack:
            y, x = stack.pop()
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    component.add(near)
                    stack.append(near)
        found.append(component)
    return found


def brute_force_clicks(labels, regions, region_id, min_pixels, epsilon, with_undefined):
    inside = regions == region_id
    drawn = [
        (value, part) for value in np.unique(labels[inside]).tolist() for part in components(inside & (labels == value))
    ]
    large = [(value, part) for value, part in drawn if len(part) >= min_pixels]
    if not large:
        # Of the largest ones, the one that reading row by row meets first.
        large = [min(drawn, key=lambda item: (-len(item[1]), min(item[1])))]
    total = 0
    for value, part in large:
        if value == IGNORE and not with_undefined:
            continue
        canvas = np.zeros(labels.shape, np.uint8)
        for y, x in part:
            canvas[y, x] = 1
        contours, _ = cv2.findContours(canvas, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        total += 1 + sum(len(cv2.approxPolyDP(contour, epsilon, True)) for contour in contours)
    return total


shapes = st.tuples(st.integers(1, 14), st.integers(1, 14))


@st.composite
def scenes(draw):
    shape = draw(shapes)
    labels = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, IGNORE])))
    raw = draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 1)))
    regions, _ = compact(raw)
    return labels, regions


def two_equally_small_components():
    """A region of two separate pairs of pixels, one upright, one diagonal: their outlines cost 1 and 2 vertices."""
    regions = np.zeros((10, 8), np.int32)
    regions[[0, 1, 8, 9], [2, 2, 0, 1]] = 1
    return np.zeros((10, 8), np.uint8), regions


@settings(deadline=None, max_examples=150)
@given(scenes(), st.integers(1, 20), st.sampled_from([0.5, 1.0, 2.0]))
@example(two_equally_small_components(), 3, 1.0)
def test_mask_answer_against_brute_force(scene, min_pixels, epsilon):
    labels, regions = scene
    params = {"min_pixels": min_pixels, "epsilon": epsilon, "seconds_per_click": 2.0}
    for region_id in range(regions.max() + 1):
        asked = question(labels, regions, region_id)
        answer = ask(asked, ("mask", params))
        inside = regions == region_id
        assert answer.pixels == inside.sum()
        assert answer.classes == tuple(np.unique(labels[inside]).tolist())
        y0, x0, y1, x1 = asked.box
        pasted = np.full(labels.shape, IGNORE, np.uint8)
        pasted[y0:y1, x0:x1] = answer.crop
        assert (pasted == np.where(inside, labels, IGNORE)).all()
        assert answer.clicks == brute_force_clicks(labels, regions, region_id, min_pixels, epsilon, True)
        without = brute_force_clicks(labels, regions, region_id, min_pixels, epsilon, False)
        assert answer.clicks_without_undefined == without
        assert answer.seconds == 2.0 * answer.clicks
        assert answer.clicks >= 2, "no answer is free"


def test_one_rectangle_costs_its_class_and_four_corners():
    labels = np.full((20, 30), 3, np.uint8)
    answer = ask(question(labels, np.zeros((20, 30), np.int32), 0), ("mask", {}))
    assert (answer.clicks, answer.clicks_without_undefined, answer.classes) == (5, 5, (3,))
    assert answer.seconds == pytest.approx(5 * 3.15)


def test_wholly_and_partly_undefined_regions():
    labels = np.full((20, 20), IGNORE, np.uint8)
    regions = np.zeros((20, 20), np.int32)
    whole = ask(question(labels, regions, 0), ("mask", {}))
    assert (whole.classes, whole.clicks, whole.clicks_without_undefined) == ((IGNORE,), 5, 0)
    assert (whole.crop == IGNORE).all()
    labels[:10] = 1
    part = ask(question(labels, regions, 0), ("mask", {}))
    assert (part.classes, part.clicks, part.clicks_without_undefined) == ((1, IGNORE), 10, 5)
    assert part.pixels == 400


def test_components_below_the_limit_are_not_drawn_but_stay_in_the_answer():
    labels = np.zeros((20, 20), np.uint8)
    labels[0, :3] = 2  # 3 px at the edge: no hole in the other class
    answer = ask(question(labels, np.zeros((20, 20), np.int32), 0), ("mask", {"epsilon": 4.0}))
    assert answer.clicks == 5
    assert answer.classes == (0, 2)
    assert (answer.crop == labels).all()


def test_pixels_of_other_regions_never_leak():
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    regions = np.eye(4, dtype=np.int32)
    answer = ask(question(labels, regions, 1), ("mask", {}))
    assert answer.classes == (0, 5, 10, 15)
    assert set(answer.crop[~np.eye(4, dtype=bool)].tolist()) == {IGNORE}


def test_answers_do_not_change_the_truth_and_bad_questions_are_refused():
    labels = np.zeros((4, 4), np.uint8)
    regions = np.zeros((4, 4), np.int32)
    answer = ask(question(labels, regions, 0), ("mask", {}))
    answer.crop[:] = 9
    assert (labels == 0).all()
    with pytest.raises(BadInput, match="must agree"):
        Question.of("a", labels, np.zeros((4, 5), np.int32), 0, (0, 0, 4, 4))
    with pytest.raises(BadInput, match="no pixel of region 3"):
        Question.of("a", labels, regions, 3, (0, 0, 4, 4))
    with pytest.raises(BadInput, match=r"query\.mask\.epsilon"):
        FORMATS.parameters("mask", {"epsilon": 0})
    with pytest.raises(BadInput, match="simulated"):
        ask(question(labels, regions, 0), ("mask", {}), ("simulatd", {}))
