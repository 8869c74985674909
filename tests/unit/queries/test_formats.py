"""Every query format against its definition, written here the slow way."""

import itertools
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.queries import FORMATS, AnnotatedImage, ask
from tessera.queries.polygons import crossings
from tessera.regions import compact, outlines, region_table
from unit.queries.scenes import IGNORE, paste, questions, scenes, trimmed
from unit.queries.test_mask import components

MULTI_SECONDS = {1: 7.28, 2: 9.58, 3: 14.79, 4: 18.79}
DOMINANT_SECONDS = {1: 6.38, 2: 8.02, 3: 8.60, 4: 9.71}


@settings(deadline=None, max_examples=100)
@given(scenes(), st.sampled_from([0, 1, 3, 5]))
def test_multi_class_names_every_class_outside_the_band(scene, trim):
    labels, regions = scene
    for region, question in enumerate(questions(labels, regions)):
        answer = ask(question, ("multi_class", {"trim": trim}))
        inside = regions == region
        kept = trimmed(regions, region, trim) if trim else np.argwhere(inside).tolist()
        named = sorted({int(labels[y, x]) for y, x in kept})
        assert answer.classes == tuple(named)
        assert answer.clicks == len(named), "the undefined bit is a click"
        assert answer.clicks_without_undefined == len([one for one in named if one != IGNORE])
        assert answer.seconds == pytest.approx(MULTI_SECONDS[len(named)])
        assert answer.seconds_model == ("user_study" if len(named) <= 3 else "user_study_extrapolated")
        assert answer.pixels == inside.sum()
        if len(named) == 1:
            assert (paste(question, answer.crop) == np.where(inside, named[0], IGNORE)).all()
        else:
            assert answer.crop is None


@settings(deadline=None, max_examples=100)
@given(scenes(), st.sampled_from(["region", "trimmed"]))
def test_dominant_names_the_majority(scene, over):
    labels, regions = scene
    for region, question in enumerate(questions(labels, regions)):
        answer = ask(question, ("dominant", {"over": over}))
        inside = regions == region
        voters = trimmed(regions, region, 5) if over == "trimmed" else np.argwhere(inside).tolist()
        votes = {label: 0 for label in (0, 1, 2, IGNORE)}
        for y, x in voters:
            votes[int(labels[y, x])] += 1
        # Equal counts: the lowest class, undefined last.
        winner = max(votes, key=lambda label: (votes[label], -label))
        assert answer.classes == (winner,)
        assert (answer.clicks, answer.clicks_without_undefined) == (1, int(winner != IGNORE))
        visible = {int(labels[y, x]) for y, x in trimmed(regions, region, 5)}
        assert answer.seconds == pytest.approx(DOMINANT_SECONDS[len(visible)])
        assert (paste(question, answer.crop) == np.where(inside, winner, IGNORE)).all()


@settings(deadline=None, max_examples=60)
@given(scenes(), st.integers(1, 30), st.integers(0, 5))
def test_pixel_names_that_many_pixels_of_the_region(scene, count, seed):
    labels, regions = scene
    for region, question in enumerate(questions(labels, regions)):
        answer = ask(question, ("pixel", {"pixels": count, "seconds_per_click": 2.0}), seed=seed)
        inside = regions == region
        expected = min(count, int(inside.sum()))
        assert (answer.pixels, answer.clicks, answer.seconds) == (expected, expected, 2.0 * expected)
        found = paste(question, answer.crop)
        named = found != IGNORE
        assert (found[named] == labels[named]).all()
        assert (inside | ~named).all()
        assert named.sum() == answer.clicks_without_undefined
        assert set(np.unique(found[named])) == set(answer.classes) - {IGNORE}
        assert (IGNORE in answer.classes) == (answer.clicks_without_undefined < answer.clicks)
        again = ask(question, ("pixel", {"pixels": count, "seconds_per_click": 2.0}), seed=seed)
        assert (again.crop == answer.crop).all()


def test_pixels_are_drawn_evenly_and_by_seed_image_and_region():
    regions = np.repeat(np.arange(2, dtype=np.int32)[None], 10, 0).repeat([10, 10], 1)
    labels = np.zeros(regions.shape, np.uint8)
    counts = np.zeros(regions.shape, int)
    for seed in range(4000):
        question = questions(labels, regions)[0]
        counts += paste(question, ask(question, ("pixel", {}), seed=seed).crop) == 0
    assert counts[:, 10:].sum() == 0
    expected = 4000 / 100
    chi2 = ((counts[:, :10] - expected) ** 2 / expected).sum()
    assert chi2 < 99 + 6 * math.sqrt(2 * 99)
    one, other = questions(labels, regions)[0], questions(labels, regions, image_id="b")[0]
    draws = [ask(q, ("pixel", {"pixels": 20}), seed=s).crop.tobytes() for q, s in ((one, 1), (one, 2), (other, 1))]
    assert len(set(draws)) == 3


def border_walk(labels, regions, region):
    """Changes of class along the traced outline of a region, where it borders on another region."""
    height, width = labels.shape
    changes = 0
    for polygon in outlines(regions, [region])[region]:
        seen = []
        for (x0, y0), (x1, y1) in itertools.pairwise([*polygon.tolist(), polygon.tolist()[0]]):
            steps = max(abs(x1 - x0), abs(y1 - y0))
            dx, dy = (x1 - x0) // steps, (y1 - y0) // steps
            for step in range(steps):
                x, y = x0 + step * dx, y0 + step * dy
                # The inside is on the right hand: east → below, south → left, west → above, north → right.
                inner = {(1, 0): (y, x), (0, 1): (y, x - 1), (-1, 0): (y - 1, x - 1), (0, -1): (y - 1, x)}[dx, dy]
                outer = {(1, 0): (y - 1, x), (0, 1): (y, x), (-1, 0): (y, x - 1), (0, -1): (y - 1, x - 1)}[dx, dy]
                beyond = not (0 <= outer[0] < height and 0 <= outer[1] < width)
                assert regions[inner] == region
                seen.append(None if beyond else int(labels[inner]))
        changes += sum(
            1 for a, b in zip(seen, seen[1:] + seen[:1], strict=True) if a is not None and b is not None and a != b
        )
    return changes


@settings(deadline=None, max_examples=150)
@given(scenes(largest=10))
def test_crossings_against_a_walk_along_the_border(scene):
    labels, regions = scene
    for region, question in enumerate(questions(labels, regions)):
        assert crossings(question) == border_walk(labels, regions, region)


def image_vertices(labels, min_pixels, epsilon):
    """[(y, x, class)] of every polygon vertex of the image."""
    found = []
    for value in np.unique(labels).tolist():
        for part in components(labels == value):
            if len(part) < min_pixels:
                continue
            canvas = np.zeros(labels.shape, np.uint8)
            for y, x in part:
                canvas[y, x] = 1
            for contour in cv2.findContours(canvas, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]:
                found += [(int(y), int(x), value) for x, y in cv2.approxPolyDP(contour, epsilon, True)[:, 0]]
    return found


@settings(deadline=None, max_examples=80)
@given(scenes(), st.integers(1, 20), st.sampled_from([0.5, 1.0, 2.0]))
def test_polygon_clicks_are_components_crossings_and_vertices(scene, min_pixels, epsilon):
    labels, regions = scene
    params = {"min_pixels": min_pixels, "epsilon": epsilon, "seconds_per_click": 2.0}
    corners = image_vertices(labels, min_pixels, epsilon)
    for region, question in enumerate(questions(labels, regions)):
        answer = ask(question, ("polygon_in_patch", params))
        inside = regions == region
        parts = [(v, p) for v in np.unique(labels[inside]).tolist() for p in components(inside & (labels == v))]
        large = [(v, p) for v, p in parts if len(p) >= min_pixels]
        large = large or [min(parts, key=lambda one: (-len(one[1]), min(one[1])))]
        met = border_walk(labels, regions, region)
        here = [value for y, x, value in corners if inside[y, x]]
        assert answer.clicks == len(large) + met + len(here)
        defined = [value for value, _ in large if value != IGNORE]
        assert answer.clicks_without_undefined == len(defined) + met + len([one for one in here if one != IGNORE])
        assert answer.seconds == 2.0 * answer.clicks
        assert answer.classes == tuple(sorted({value for value, _ in large}))
        painted = paste(question, answer.crop)
        assert (painted[~inside] == IGNORE).all()
        assert set(np.unique(painted)) <= set(answer.classes) | {IGNORE}


def test_polygons_paint_small_over_large_and_leave_out_what_is_not_drawn():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:25, 10:25] = 1
    labels[15:20, 15:20] = 2
    labels[30:32, 30:32] = 3
    whole = np.zeros((40, 40), np.int32)
    answer = ask(questions(labels, whole)[0], ("polygon_in_patch", {}))
    expected = labels.copy()
    expected[labels == 3] = 0
    assert (answer.crop == expected).all(), "four pixels are too few to draw"
    assert answer.classes == (0, 1, 2)
    # Three classes; corners of the outer outline, of two squares and of the three holes (the smallest hole is of the
    # part that is not drawn, and costs the one who goes around it).
    assert answer.clicks == 3 + len([1 for *_, v in image_vertices(labels, 16, 2.0)])
    halves = np.zeros((40, 40), np.int32)
    halves[:, 20:] = 1
    inner = np.full((40, 40), 7, np.uint8)
    left = ask(questions(inner, halves)[0], ("polygon_in_patch", {}))
    assert (left.clicks, left.classes) == (1 + 2, (7,)), "two of the image's corners lie in this half"
    quarter = np.zeros((40, 40), np.int32)
    quarter[10:20, 10:20] = 1
    assert ask(questions(inner, quarter)[1], ("polygon_in_patch", {})).clicks == 1, "inside one object: its class"


def test_image_is_priced_by_the_image():
    labels = np.zeros((20, 30), np.uint8)
    labels[:, 15:] = 2
    whole = np.zeros((20, 30), np.int32)
    question = questions(labels, whole)[0]
    answer = ask(question, ("image", {}))
    assert (answer.seconds, answer.seconds_model, answer.clicks) == (5400.0, "per_image", 10)
    assert (answer.crop == labels).all()
    flat = ask(question, ("image", {"clicks_per_image": 7, "seconds_per_image": 60}))
    assert (flat.clicks, flat.clicks_without_undefined, flat.seconds) == (7, 7, 60.0)
    void = ask(questions(np.full((20, 30), IGNORE, np.uint8), whole)[0], ("image", {"clicks_per_image": 7}))
    assert (void.clicks, void.clicks_without_undefined, void.classes) == (7, 0, (IGNORE,))
    parts = whole.copy()
    parts[:, 20:] = 1
    with pytest.raises(BadInput, match="use partition image"):
        ask(questions(labels, parts)[0], ("image", {}))


@pytest.mark.parametrize("name", ["mask", "dominant", "multi_class", "pixel", "polygon_in_patch"])
def test_edge_cases_have_a_price_and_an_answer(name):
    """A region of one pixel, a region that is all undefined, one that the trim leaves empty."""
    labels = np.zeros((12, 12), np.uint8)
    labels[:6] = IGNORE
    labels[6, 6] = 4
    regions = np.zeros((12, 12), np.int32)
    regions[:6] = 1
    regions[6, 6] = 2
    regions = compact(regions)[0]
    table = region_table(regions)
    single = int(regions[6, 6])
    frame = AnnotatedImage("a", labels, regions)
    asked = [frame.question(region, table.box(region)) for region in range(len(table))]
    one = ask(asked[single], (name, {}))
    assert one.classes == (4,), "after an empty trim the whole region counts"
    assert one.clicks >= 1
    assert one.clicks == one.clicks_without_undefined
    assert one.crop is not None
    assert one.crop.tolist() == [[4]]
    void = ask(asked[int(regions[0, 0])], (name, {}))
    assert void.classes == (IGNORE,)
    assert void.clicks >= 1
    assert void.clicks_without_undefined == 0
    assert (void.crop == IGNORE).all()


@settings(deadline=None, max_examples=40)
@given(scenes(), st.data())
def test_answers_do_not_depend_on_region_ids_and_are_never_cheaper_than_announced(scene, data):
    labels, regions = scene
    count = int(regions.max()) + 1
    order = data.draw(st.permutations(range(count)))
    renamed = np.asarray(order, np.int32)[regions]
    for name in ("mask", "dominant", "multi_class", "polygon_in_patch", "pixel"):
        first, second = questions(labels, regions), questions(labels, renamed)
        bound = FORMATS.entry(name).traits.cheapest(FORMATS.parameters(name, {}))
        for region in range(count):
            one = ask(first[region], (name, {}))
            assert one.clicks >= bound["clicks"] >= 1
            assert one.seconds >= bound["seconds"] > 0
            assert one.clicks >= one.clicks_without_undefined >= 0
            assert one.pixels >= 1
            if name != "pixel":  # which draws by region id
                other = ask(second[order[region]], (name, {}))
                assert (one.classes, one.clicks, one.seconds) == (other.classes, other.clicks, other.seconds)


def test_an_even_band_is_refused():
    for name in ("multi_class", "dominant"):
        with pytest.raises(BadInput, match="odd"):
            FORMATS.parameters(name, {"trim": 4})
