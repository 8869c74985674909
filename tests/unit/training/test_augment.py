"""Scale, crop, flip and colours against loops over pixels, and what the supervised method does with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera import models, training
from tessera.errors import BadInput
from tessera.training import METHODS, Sample
from tessera.training.augment import MEAN_COLOUR, Augment, Augmentation, Jitter, draw
from tessera.training.checks import IGNORE
from tessera.training.data import SampleSet
from tessera.training.params import Schedule

pytestmark = pytest.mark.usefixtures("one_thread")


def pixel_by_pixel(change, rgb, labels, fill):
    """Every pixel of the crop by itself: its place in the mirrored scaled image, from there its place in the source."""
    (scaled_height, scaled_width), (top, left) = change.size, change.corner
    height, width = labels.shape
    image = np.empty((*change.crop, 3))
    image[...] = MEAN_COLOUR
    out = np.full(change.crop, fill, labels.dtype)
    for i in range(change.crop[0]):
        for j in range(change.crop[1]):
            y, x = i + top, j + left
            if not (0 <= y < scaled_height and 0 <= x < scaled_width):
                continue
            x = scaled_width - 1 - x if change.flip else x
            v, u = (y + 0.5) * height / scaled_height, (x + 0.5) * width / scaled_width
            out[i, j] = labels[min(int(v), height - 1), min(int(u), width - 1)]
            v, u = min(max(v - 0.5, 0), height - 1), min(max(u - 0.5, 0), width - 1)
            value = np.zeros(3)
            for row, row_weight in ((int(v), 1 - v % 1), (min(int(v) + 1, height - 1), v % 1)):
                for column, weight in ((int(u), 1 - u % 1), (min(int(u) + 1, width - 1), u % 1)):
                    value += row_weight * weight * rgb[row, column]
            image[i, j] = value
    return image, out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    crop=st.tuples(st.integers(16, 24), st.integers(16, 24)),
    scale=st.sampled_from([None, (0.5, 2.0), (0.1, 0.3), (1.5, 1.5)]),
    flip=st.booleans(),
)
def test_image_and_maps_move_together_as_the_formula_says(seed, size, crop, scale, flip):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    target, regions = rng.integers(0, 5, size).astype(np.uint8), rng.integers(0, 900, size).astype(np.int32)
    [change] = draw(Augment(scale=scale, crop=crop), [rgb.shape], np.array([flip]), size, rng)
    image, labels = pixel_by_pixel(change, rgb, target, IGNORE)
    assert np.abs(change.image(rgb) - image).max() <= 0.51
    assert np.array_equal(change.labels(target, IGNORE), labels)
    moved = change.labels(regions, -1)
    assert moved.dtype == np.int32
    assert np.array_equal(moved, pixel_by_pixel(change, rgb, regions, -1)[1])
    assert np.array_equal(moved == -1, labels == IGNORE)


def test_every_place_of_a_crop_and_of_its_padding_is_drawn():
    params, rng, crop = Augment(crop=(16, 20)), np.random.default_rng(0), (16, 20)
    drawn = [draw(params, [(18, 17, 3)], np.array([False]), crop, rng)[0] for _ in range(300)]
    assert {one.corner[0] for one in drawn} == {0, 1, 2}
    assert {one.corner[1] for one in drawn} == {0, -1, -2, -3}
    factors = [
        draw(Augment(scale=(0.5, 2.0)), [(100, 100)], np.array([False]), (100, 100), rng)[0].size[0] for _ in range(300)
    ]
    assert min(factors) >= 50
    assert max(factors) <= 200
    assert abs(np.mean(factors) - 125) < 8


def test_one_setting_does_not_shift_the_draws_of_another():
    def drawn(**params):
        rng = np.random.default_rng(4)
        return draw(Augment(**params), [(40, 50)] * 3, np.zeros(3, bool), (32, 32), rng)

    jitter = Jitter(brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1)
    plain, both = drawn(crop=(32, 32)), drawn(crop=(32, 32), colour=jitter)
    assert [replace(one, colours=None) for one in both] == plain
    assert [one.colours for one in both] == [one.colours for one in drawn(colour=jitter)]
    assert all(0.6 <= one.colours.brightness <= 1.4 and abs(one.colours.hue) <= 0.1 for one in both)
    assert drawn(flip=True) is None


def test_colours_change_the_image_alone_and_never_its_padding():
    rng = np.random.default_rng(0)
    rgb, target = rng.integers(0, 256, (10, 12, 3)).astype(np.uint8), rng.integers(0, 3, (10, 12)).astype(np.uint8)
    [change] = draw(Augment(colour=Jitter(brightness=0.9)), [rgb.shape], np.array([True]), (16, 16), rng)
    expected = np.rint(np.clip(rgb[:, ::-1] * np.float32(change.colours.brightness), 0, 255))
    assert np.array_equal(change.image(rgb)[:10, :12], expected)
    assert (change.image(rgb)[10:] == MEAN_COLOUR).all()
    assert np.array_equal(change.labels(target, IGNORE)[:10, :12], target[:, ::-1])
    assert change.corner == (0, 0)


def test_a_set_gives_flips_as_ever_and_changes_where_they_are_drawn():
    rng = np.random.default_rng(0)
    data = [
        Sample(rng.integers(0, 256, (*size, 3)).astype(np.uint8), rng.integers(0, 3, size).astype(np.uint8))
        for size in ((20, 30), (24, 18))
    ]
    made, index, flip = SampleSet(data, torch.device("cpu"), torch.float32), np.array([1, 0]), np.array([True, False])
    changes = [
        Augmentation(data[at].target.shape, (0, 0), made.size, mirrored)
        for at, mirrored in zip(index, flip, strict=True)
    ]
    assert torch.equal(made.rgb(index, flip), made.rgb(index, flip, changes))
    assert torch.equal(made.target(index, flip), made.target(index, flip, changes))


def test_the_rate_never_falls_below_the_floor():
    poly = Schedule(name="poly", floor=1e-6)
    assert poly.rate(1e-3, 0, 0, 10, 5) == 1e-3
    assert poly.rate(1e-3, 4, 9, 10, 5) == pytest.approx(1e-3 * 0.02**0.9)
    assert poly.rate(2e-6, 4, 9, 10, 5) == 1e-6
    assert poly.rate(1e-7, 4, 9, 10, 5) == 1e-7


NAME = "deeplabv3plus_mobilenetv2"
BASE = {"epochs": 1, "batch": 2, "precision": "float32", "view": "images", "frozen": False, "optimiser": "sgd"}


def network(seed=1):
    return models.build(NAME, json.dumps({"width": 0.125}), 3, seed=seed)


def samples(count=4, size=(40, 48)):
    rng = np.random.default_rng(0)
    return [
        Sample(rng.integers(0, 256, (*size, 3)).astype(np.uint8), rng.integers(0, 3, size).astype(np.uint8))
        for _ in range(count)
    ]


def train(data=None, previous=None, **params):
    given = json.dumps(BASE | params)
    return training.train("supervised", given, network(), data or samples(), 3, 3, previous=previous).state


def same(one, two, part=""):
    return all(np.array_equal(one[key], two[key]) for key in one if key.startswith(part))


def test_supervised_training_with_every_change_repeats_bit_for_bit():
    augment = {"flip": True, "scale": [0.5, 2.0], "crop": [32, 32], "colour": {"brightness": 0.2, "hue": 0.05}}
    one, two, plain = train(augment=augment), train(augment=augment), train(augment={"flip": True})
    assert same(one, two)
    assert not same(one, plain)


def test_backbone_and_head_learn_at_their_own_rates():
    """One step of plain SGD moves a weight by rate × gradient: ten times as far in the head, as far in the backbone."""
    step = {"batch": 4, "momentum": 0.0, "lr": 1e-3}
    start = train(**step | {"lr": 1e-12})
    one, ten = train(**step), train(**step, head_factor=10.0)
    for key, factor in (("backbone.features.0.0.weight", 1.0), ("head.classifier.weight", 10.0)):
        key = next(name for name in start if name.startswith(key.rsplit(".", 1)[0]) and name.endswith("weight"))
        assert np.allclose(ten[key] - start[key], factor * (one[key] - start[key]), atol=1e-7, rtol=1e-3), key
        assert not np.array_equal(one[key], start[key])


@pytest.mark.parametrize(
    ("reinit", "kept"),
    [("all", ()), ("backbone", ("head",)), ("decoder", ("backbone",)), ("none", ("backbone", "head"))],
)
def test_what_does_not_start_anew_goes_on_from_the_round_before(reinit, kept):
    still = {"lr": 1e-12, "reinit": reinit}
    before, fresh = train(lr=0.05, epochs=2), train(**still)
    after = train(previous=before, **still)
    for part in ("backbone", "head"):
        wanted = before if part in kept else fresh
        names = [key for key in after if key.startswith(part) and key.endswith("weight") and after[key].ndim == 4]
        assert all(np.allclose(after[key], wanted[key], atol=1e-6) for key in names), part
        assert not all(np.allclose(before[key], fresh[key], atol=1e-6) for key in names)
    assert METHODS.parameters("supervised", {"reinit": reinit}).needs().previous == bool(kept)


def test_images_without_a_label_are_left_out_where_the_recipe_says_so():
    rng = np.random.default_rng(1)
    blank = Sample(rng.integers(0, 256, (40, 48, 3)).astype(np.uint8), np.full((40, 48), IGNORE, np.uint8))
    mixed = [samples()[0], blank, *samples()[1:]]
    assert same(train(mixed, without_labels="leave_out"), train(samples()))
    assert not same(train(mixed), train(samples()))


def test_what_is_new_leaves_old_parameters_as_they_were():
    text = METHODS.canonical("supervised", {})
    for name in ("head_factor", "reinit", "without_labels", "floor", "crop", "scale", "colour"):
        assert f'"{name}":' not in text
    given = {"head_factor": 10, "reinit": "none", "frozen": False, "view": "images", "augment": {"crop": [64, 64]}}
    assert METHODS.canonical("supervised", json.loads(METHODS.canonical("supervised", given))) == METHODS.canonical(
        "supervised", given
    )


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"frozen": True, "augment": {"crop": [32, 32]}}, "set frozen to false"),
        ({"view": "crops", "augment": {"scale": [0.5, 2]}}, "set view to images"),
        ({"augment": {"scale": [2, 0.5]}}, "the least factor comes first"),
        ({"augment": {"crop": [3, 32]}}, "greater than or equal to 16"),
    ],
)
def test_parameters_that_do_not_fit_are_named(params, words):
    with pytest.raises(BadInput, match=words):
        METHODS.parameters("supervised", BASE | params)
