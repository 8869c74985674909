"""Answers of people: what is sent, what is priced, and how several become one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as such_that
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tessera.errors import BadInput
from tessera.queries import FORMATS, AnnotatedImage, ask
from tessera.queries.formats.pixel import drawn
from tessera.queries.given import (
    Given,
    agreement,
    check,
    mask_to_runs,
    raster_to_runs,
    resolved,
    runs_to_mask,
    runs_to_raster,
    shape_of,
    to_answer,
)
from tessera.regions import region_table

SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@settings(deadline=None)
@such_that(SHAPES.flatmap(lambda shape: arrays(np.bool_, shape)))
def test_masks_survive_their_runs(mask):
    runs = mask_to_runs(mask)
    assert np.array_equal(runs_to_mask(runs, *mask.shape), mask)
    # The contract: outside first, row by row.
    pixels = [inside for index, count in enumerate(runs) for inside in [index % 2 == 1] * count]
    assert pixels == mask.ravel().tolist()
    assert all(runs[1:])


@settings(deadline=None)
@such_that(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255]))))
def test_rasters_survive_their_runs(raster):
    values, lengths = raster_to_runs(raster)
    assert np.array_equal(runs_to_raster(values, lengths, *raster.shape), raster)
    assert [
        value for value, count in zip(values, lengths, strict=True) for _ in range(count)
    ] == raster.ravel().tolist()


def test_runs_that_do_not_fit_are_refused():
    for call in (
        lambda: runs_to_mask([1, 2], 2, 2),
        lambda: runs_to_raster([1], [3], 2, 2),
        lambda: runs_to_raster([1, 2], [4], 2, 2),
        lambda: runs_to_raster([300], [4], 2, 2),
    ):
        with pytest.raises(BadInput):
            call()


def scene():
    rng = np.random.default_rng(4)
    truth = np.kron(rng.choice([0, 1, 2, 255], (4, 5)).astype(np.uint8), np.ones((6, 6), np.uint8))
    regions = np.kron(np.arange(4).reshape(2, 2), np.ones((12, 15), int)).astype(np.int32)
    return truth, regions


@pytest.mark.parametrize("query", ["mask", "dominant", "multi_class", "pixel", "image"])
def test_an_answer_equal_to_the_truth_is_that_of_the_simulated_oracle(query):
    truth, regions = scene()
    if query == "image":
        regions = np.zeros_like(regions)
    params = FORMATS.parameters(query, {"pixels": 5} if query == "pixel" else {})
    seen = AnnotatedImage("a", truth, regions, 255, 3)
    blind = AnnotatedImage("a", np.full_like(truth, 255), regions, 255, 3)
    table = region_table(regions)
    for region in range(len(table)):
        simulated = ask(seen.question(region, table.box(region)), (query, params), seed=9)
        question = replace(blind.question(region, table.box(region)), seed=9)
        if shape_of(query) == "raster":
            said = Given((), simulated.crop)
        elif shape_of(query) == "points":
            y0, x0, y1, x1 = question.box
            said = Given(tuple(truth[y0:y1, x0:x1].ravel()[drawn(question, params)].tolist()))
        else:
            said = Given(simulated.classes)
        made = to_answer(question, said, (query, params))
        free = {"seconds": 0.0, "seconds_model": "", "visible": ()} if query == "dominant" else {}
        assert np.array_equal(made.crop, simulated.crop) or (made.crop is None and simulated.crop is None)
        assert replace(made, crop=None, **free) == replace(simulated, crop=None, **free)


def test_pixels_outside_the_region_are_not_read():
    _, regions = scene()
    regions[0, 0] = 1
    blind = AnnotatedImage("a", np.full(regions.shape, 255, np.uint8), regions, 255, 3)
    question = blind.question(0, region_table(regions).box(0))
    made = to_answer(
        question, Given((), np.full(question.inside.shape, 2, np.uint8)), ("mask", FORMATS.parameters("mask", {}))
    )
    assert np.array_equal(made.crop == 2, question.inside)
    assert (made.classes, made.pixels) == ((2,), int(question.inside.sum()))


@settings(deadline=None)
@such_that(st.lists(arrays(np.uint8, (2, 3), elements=st.sampled_from([0, 1, 2, 255])), min_size=1, max_size=4))
def test_the_majority_of_rasters_pixel_by_pixel(rasters):
    made = resolved([Given((), one) for one in rasters], "mask", 255).raster
    for place in np.ndindex(2, 3):
        votes = Counter(int(one[place]) for one in rasters).most_common()
        tie = len(votes) > 1 and votes[0][1] == votes[1][1]
        assert made[place] == (255 if tie else votes[0][0])


@settings(deadline=None)
@such_that(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=4))
def test_the_majority_of_classes(sets):
    made = resolved([Given(tuple(sorted(one))) for one in sets], "multi_class", 255).classes
    named = tuple(label for label in range(4) if sum(label in one for one in sets) > len(sets) / 2)
    assert made == (named or tuple(sorted(sets[-1])))


def test_agreement_is_the_mean_over_pairs():
    inside = np.array([[True, True], [True, False]])
    rasters = [Given((), np.array(one, np.uint8)) for one in ([[0, 0], [0, 0]], [[0, 1], [0, 2]], [[1, 1], [1, 1]])]
    assert agreement(rasters, "mask", inside) == pytest.approx((2 / 3 + 0 + 1 / 3) / 3)
    assert agreement(rasters[:1], "mask", inside) == -1.0
    assert agreement([Given((0, 1)), Given((1, 2))], "multi_class", inside) == pytest.approx(1 / 3)
    assert agreement([Given((0, 1, 1)), Given((0, 2, 1))], "pixel", inside) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("query", "said", "points", "words"),
    [
        ("dominant", Given((0, 1)), 0, "exactly one class"),
        ("dominant", Given(()), 0, "exactly one class"),
        ("dominant", Given((), np.zeros((2, 2), np.uint8)), 0, "answered by classes"),
        ("multi_class", Given((1, 0)), 0, "ascending"),
        ("multi_class", Given((1, 1)), 0, "each once"),
        ("multi_class", Given((3,)), 0, "class 3 does not exist"),
        ("mask", Given((0,)), 0, "answered by a raster"),
        ("mask", Given((), np.full((2, 2), 7, np.uint8)), 0, "class 7 does not exist"),
        ("pixel", Given((0, 1)), 3, "2 classes for 3 points"),
    ],
)
def test_answers_that_do_not_fit_the_query_are_refused(query, said, points, words):
    with pytest.raises(BadInput, match=words):
        check(said, query, 3, 255, points)


def test_undefined_is_always_an_answer():
    check(Given((255,)), "dominant", 3, 255, 0)
    check(Given((0, 255)), "multi_class", 3, 255, 0)
    check(Given((), np.full((2, 2), 255, np.uint8)), "mask", 3, 255, 0)
