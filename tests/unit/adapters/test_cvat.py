"""Questions on their way to CVAT's files and back: to the pixel, each once, and whatever is no answer is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given as such_that
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adapter_rounds import question, round_of
from tessera.adapters.cvat import images_xml, masks_zip
from tessera.adapters.cvat.images_xml import CvatDocument
from tessera.adapters.cvat.questions import CvatSource, images_of, replies
from tessera.adapters.cvat.scheme import DONE, ON, SKIP, raw_labels, scheme
from tessera.adapters.cvat.shapes import CvatImage, CvatShape, covered, layers, mask_shape
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.formats import images as pictures

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
FILE = CvatSource("round 1", "ann", "2026-01-01T00:00:00Z", finished=False)
ALL_DONE = replace(FILE, finished=True)


@st.composite
def regions(draw: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A region of any form, with holes and parts, anywhere in an image, at its borders too."""
    mask = draw(SHAPES.flatmap(lambda shape: arrays(np.bool_, shape)))
    if not mask.any():
        mask[draw(st.integers(0, mask.shape[0] - 1)), draw(st.integers(0, mask.shape[1] - 1))] = True
    above, left, below, right = (draw(st.integers(0, 3)) for _ in range(4))
    return np.pad(mask, ((above, below), (left, right)))


def through_xml(round_: ToolRound, images: list[CvatImage]) -> list[CvatImage]:
    document = CvatDocument(scheme(round_).labels, tuple(images), name="street", assignee="ann")
    data = images_xml.write(document)
    again = images_xml.read(data, "annotations.xml")
    assert again == document
    assert images_xml.write(again) == data
    return list(again.images)


def answered(image: CvatImage, said: dict[str, str], *more: CvatShape, question: str = "") -> CvatImage:
    """The image after somebody set attributes of the regions (of one question) and drew more."""
    shapes = []
    for one in image.shapes:
        mine = one.label == "region" and question in ("", one.attributes["question"])
        shapes.append(replace(one, attributes={**one.attributes, **said}) if mine else one)
    return replace(image, shapes=(*shapes, *more))


def brute_polygon(corners: list[tuple[float, float]], height: int, width: int) -> np.ndarray[Any, Any]:
    """Which centres a ray to the right leaves through an odd number of edges: the definition, pixel by pixel."""
    made = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            crossings = 0
            for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
                if (ay <= y + 0.5) != (by <= y + 0.5):
                    crossings += ax + (y + 0.5 - ay) * (bx - ax) / (by - ay) <= x + 0.5
            made[y, x] = crossings % 2
    return made


@settings(deadline=None)
@such_that(regions())
def test_a_region_survives_a_mask_to_the_pixel(region: np.ndarray[Any, Any]) -> None:
    task, round_ = ToolTask.of(question(region)), ToolRound.of(round_of("mask"))
    (image,) = through_xml(round_, images_of(round_, [task]))
    (shape,) = image.shapes
    assert np.array_equal(covered(shape, (0, 0, *region.shape)), region)
    assert np.array_equal(covered(shape, task.box), task.inside)
    # CVAT's own convention: runs row by row, outside first, and a box whose last two numbers are inclusive.
    *runs, left, top, right, bottom = (int(value) for value in shape.points)
    flat = [value for at, count in enumerate(runs) for value in [at % 2 == 1] * count]
    assert np.array_equal(
        np.reshape(flat, (bottom - top + 1, right - left + 1)), region[top : bottom + 1, left : right + 1]
    )


@settings(deadline=None)
@such_that(regions(), st.integers(0, 2**32 - 1))
def test_an_answer_survives_both_formats_to_the_pixel(region: np.ndarray[Any, Any], seed: int) -> None:
    rng, round_ = np.random.default_rng(seed), ToolRound.of(round_of("mask"))
    task = ToolTask.of(question(region))
    truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), region.shape)
    truth[tuple(np.argwhere(region)[0])] = 1
    drawn = [
        CvatShape("mask", round_.name(value), mask_shape(truth == value), z_order=1)
        for value in np.unique(truth).tolist()
    ]
    y0, x0, y1, x1 = task.box
    expected = np.where(task.inside, truth[y0:y1, x0:x1], 255)
    (image,) = images_of(round_, [task])
    done = answered(image, {"state": DONE}, *drawn)
    found, wrong = replies(round_, [task], through_xml(round_, [done]), FILE)
    assert not wrong
    assert found[0].given is not None
    assert np.array_equal(found[0].given.raster, expected)
    zipped = masks_zip.write([one for one in scheme(round_).labels if one.name in scheme(round_).classes], [done])
    again, wrong = replies(round_, [task], masks_zip.read(zipped, "masks.zip"), replace(ALL_DONE, bare=True))
    assert not wrong
    assert again[0].given is not None
    assert np.array_equal(again[0].given.raster, expected)


CORNERS = st.lists(st.tuples(st.integers(-32, 160), st.integers(-32, 160)), min_size=3, max_size=7)


@settings(deadline=None)
@such_that(CORNERS)
def test_a_polygon_covers_the_centres_inside_it(sixteenths: list[tuple[int, int]]) -> None:
    corners = [(x / 16, y / 16) for x, y in sixteenths]
    shape = CvatShape("polygon", "car", tuple(value for corner in corners for value in corner))
    assert np.array_equal(covered(shape, (0, 0, 9, 9)), brute_polygon(corners, 9, 9))
    # CVAT keeps hundredths of a pixel: sixteenths survive them.
    document = CvatDocument((), (CvatImage("a.png", 9, 9, (shape,)),))
    (image,) = images_xml.read(images_xml.write(document), "a").images
    assert np.array_equal(covered(image.shapes[0], (0, 0, 9, 9)), covered(shape, (0, 0, 9, 9)))


def test_a_polygon_along_pixel_edges_is_those_pixels_and_not_one_shifted_by_half() -> None:
    square = CvatShape("polygon", "car", (1, 1, 4, 1, 4, 3, 1, 3))
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    assert np.array_equal(covered(square, (0, 0, 5, 6)), expected)
    rectangle = CvatShape("rectangle", "car", (1, 1, 4, 3))
    assert np.array_equal(covered(rectangle, (0, 0, 5, 6)), expected)
    # Traced through the centres of the outermost pixels, as OpenCV does, it has lost its right and lower borders.
    centres = CvatShape("polygon", "car", (1, 1, 3, 1, 3, 2, 1, 2))
    assert covered(centres, (0, 0, 5, 6)).sum() == 2


def test_higher_shapes_lie_on_lower_ones_and_later_on_earlier() -> None:
    def box(label: str, z: int, *at: int) -> CvatShape:
        return CvatShape("rectangle", label, tuple(map(float, at)), z_order=z)

    shapes = [
        box("top", 2, 0, 0, 1, 1),
        box("low", 0, 0, 0, 3, 1),
        box("mid", 1, 0, 0, 2, 1),
        box("last", 0, 2, 0, 3, 1),
    ]
    values = {"top": 3, "low": 0, "mid": 2, "last": 1}
    assert [value for value, _ in layers(shapes, values, (0, 0, 1, 3))] == [0, 1, 2, 3]


def two_regions(query: str, points: bool = False) -> tuple[ToolRound, list[ToolTask], CvatImage]:
    """Two questions about one image, a left half and a right half with a hole, and the image in CVAT."""
    left, right = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    left[:, :4], right[:, 4:] = True, True
    right[2, 6] = False
    places = [((1, 1), (4, 2)), ((0, 5), (5, 7))] if points else [(), ()]
    tasks = [
        ToolTask.of(question(mask, at, rank)) for rank, (mask, at) in enumerate(zip((left, right), places, strict=True))
    ]
    round_ = ToolRound.of(round_of(query))
    (image,) = images_of(round_, tasks)
    return round_, tasks, image


@pytest.mark.parametrize(
    ("query", "said", "classes"),
    [
        ("dominant", {"class": "class 2"}, (2,)),
        ("dominant", {"class": "undefined"}, (255,)),
        ("multi_class", {"class 0": ON, "class 2": ON, "state": DONE}, (0, 2)),
        ("multi_class", {"class 1": ON, "undefined": ON, "state": DONE}, (1, 255)),
    ],
)
def test_classes_come_back_from_the_attributes_of_their_region(
    query: str, said: dict[str, str], classes: tuple[int, ...]
) -> None:
    round_, tasks, image = two_regions(query)
    done = answered(image, said, question=tasks[1].question_id)
    found, wrong = replies(round_, tasks, through_xml(round_, [done]), FILE)
    assert [(one.question_id, one.given.classes) for one in found if one.given] == [(tasks[1].question_id, classes)]
    assert found[0].clicks == len(classes)
    (open_,) = wrong
    assert "question 0" in open_.place
    assert "names no class yet" in open_.reason


@pytest.mark.parametrize("query", ["dominant", "multi_class"])
def test_tags_answer_an_image_with_one_question(query: str) -> None:
    round_, tasks, image = two_regions(query)
    tag = CvatShape("tag", "class 1")
    found, wrong = replies(round_, tasks, [replace(image, shapes=(*image.shapes, tag))], FILE)
    assert not found
    assert all("tags cannot tell 2 regions apart" in one.reason for one in wrong)
    (alone,) = images_of(round_, tasks[1:])
    found, wrong = replies(round_, tasks[1:], through_xml(round_, [replace(alone, shapes=(*alone.shapes, tag))]), FILE)
    assert not wrong
    assert [one.given.classes for one in found if one.given] == [(1,)]


def test_points_come_back_by_attribute_or_by_label() -> None:
    round_, tasks, image = two_regions("pixel", points=True)
    chosen = iter(("class 1", "class 0", "class 2", "undefined"))
    shapes = tuple(
        replace(one, attributes={**one.attributes, "class": next(chosen)})
        if one.kind == "points"
        else replace(one, attributes={**one.attributes, "state": DONE})
        for one in image.shapes
    )
    found, wrong = replies(round_, tasks, through_xml(round_, [replace(image, shapes=shapes)]), FILE)
    assert not wrong
    assert [one.given.classes for one in found if one.given] == [(1, 0), (2, 255)]
    own = [CvatShape("points", "class 2", (1.2, 1.7)), CvatShape("points", "class 1", (2.5, 4.5))]
    found, wrong = replies(round_, tasks[:1], [answered(image, {"state": DONE}, *own)], FILE)
    assert [one.given.classes for one in found if one.given] == [(2, 1)]
    found, wrong = replies(round_, tasks[:1], [answered(image, {"state": DONE}, own[0])], FILE)
    assert any("has no class" in one.reason for one in wrong)


def test_the_prediction_is_the_starting_point_and_counts_when_it_is_accepted() -> None:
    region = np.ones((4, 5), bool)
    region[1, 1] = False
    asked, plane = question(region), np.full((4, 5), 2, np.uint8)
    plane[:, :2] = 0
    task, round_ = ToolTask.of(asked, pictures.encode_png(plane)), ToolRound.of(round_of("mask"))
    (image,) = through_xml(round_, images_of(round_, [task]))
    assert {one.source for one in image.shapes if one.label != "region"} == {"auto"}
    found, _ = replies(round_, [task], [image], FILE)
    assert not found
    found, _ = replies(round_, [task], [image], ALL_DONE)
    assert found[0].given is not None
    assert np.array_equal(found[0].given.raster, np.where(region, plane, 255))
    assert found[0].clicks == 0
    corrected = answered(image, {"state": DONE}, CvatShape("polygon", "class 1", (0, 0, 2, 0, 2, 4, 0, 4), z_order=1))
    again, _ = replies(round_, [task], [corrected], FILE)
    assert again[0].given is not None
    assert again[0].given.raster is not None
    assert set(again[0].given.raster[:, :2][region[:, :2]].tolist()) == {1}
    assert again[0].clicks == 4
    assert again[0].answer_id != found[0].answer_id
    assert replies(round_, [task], [corrected], FILE)[0][0].answer_id == again[0].answer_id
    # Queries that name classes start without an answer; the model's opinion stands beside.
    for query, shown in (("dominant", "class"), ("multi_class", "state")):
        named = ToolRound.of(round_of(query))
        (image,) = images_of(named, [task])
        assert image.shapes[0].attributes["model"] == "class 2 63%, class 0 37%"
        assert image.shapes[0].attributes[shown] in ("?", "open")


@pytest.mark.parametrize("query", ["mask", "dominant", "multi_class", "pixel"])
def test_a_question_is_skipped_with_its_reason(query: str) -> None:
    round_, tasks, image = two_regions(query, points=query == "pixel")
    value = {"class": SKIP} if query == "dominant" else {"state": SKIP}
    found, wrong = replies(round_, tasks, [answered(image, {**value, "reason": " too dark "})], FILE)
    assert [(one.given, one.skipped) for one in found] == [(None, "too dark")] * 2
    assert not wrong


def wrong_images() -> dict[str, tuple[Any, str]]:
    def drawn(kind: str, label: str, *points: float) -> Any:
        return lambda image: answered(image, {}, CvatShape(kind, label, points))

    def regions(change: Any) -> Any:
        return lambda image: replace(image, shapes=tuple(change(list(image.shapes))))

    return {
        "foreign label": (drawn("mask", "horse", 0, 1, 0, 0, 0, 0), "label 'horse' is none of this round"),
        "no area": (drawn("polyline", "class 1", 0, 0, 1, 1), "polyline of label 'class 1': is not read"),
        "ellipse": (drawn("ellipse", "class 1"), "draw a mask, polygon or rectangle"),
        "foreign image": (lambda image: replace(image, name="other.png"), "no question of this round asks about it"),
        "other size": (lambda image: replace(image, width=9), "is 9×6 pixels, the data set's 8×6"),
        "deleted": (regions(lambda shapes: shapes[1:]), "its shape of label region is deleted"),
        "copied": (regions(lambda shapes: [*shapes, shapes[0]]), "its region is there 2 times"),
        "redrawn": (
            regions(lambda shapes: [replace(shapes[0], points=mask_shape(np.ones((2, 2), bool))), *shapes[1:]]),
            "its region was redrawn",
        ),
        "unknown": (
            regions(lambda shapes: [*shapes, replace(shapes[0], attributes={"question": "x.9"})]),
            "question 'x.9': no such question in this round",
        ),
        "open": (lambda image: image, "is not marked done"),
        "empty": (lambda image: answered(image, {"state": DONE}), "nothing is drawn inside the region"),
        "broken runs": (
            lambda image: answered(image, {"state": DONE}, CvatShape("mask", "class 1", (0, 3, 0, 0, 1, 1))),
            "runs of 3 pixels for a box of 2×2",
        ),
        "far away": (
            lambda image: answered(image, {"state": DONE}, CvatShape("polygon", "class 1", (0, 0, 1e9, 0, 0, 1))),
            "a coordinate is not finite or over",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", wrong_images())
def test_what_is_no_answer_is_named_with_its_reason(case: str) -> None:
    change, reason = wrong_images()[case]
    round_, tasks, image = two_regions("mask")
    found, wrong = replies(round_, tasks, [change(image)], FILE)
    assert not found
    assert any(reason in one.reason for one in wrong), wrong
    assert all(one.place.startswith("round 1, image") for one in wrong)


def test_an_image_that_comes_twice_is_read_once() -> None:
    round_, tasks, image = two_regions("mask")
    done = answered(image, {"state": DONE}, CvatShape("rectangle", "class 1", (0, 0, 8, 6)))
    found, wrong = replies(round_, tasks, [done, done], FILE)
    assert len(found) == 2
    assert [one.reason for one in wrong] == ["comes twice; give each image once"]


def test_names_that_a_class_has_already_are_changed() -> None:
    names = ["region", "Question", "state", "?", "skip", "class", "reason", "model", "point"]
    for query in ("dominant", "multi_class", "mask", "pixel"):
        round_ = ToolRound.of(round_of(query, names))
        made = scheme(round_)
        labels = [one.name.casefold() for one in made.labels]
        assert len(set(labels)) == len(labels)
        assert len({one.color for one in made.labels}) >= len(round_.labels) + 1
        for label in made.labels:
            attributes = [one.name.casefold() for one in label.attributes]
            assert len(set(attributes)) == len(attributes)
            for one in label.attributes:
                assert len(set(one.values)) == len(one.values)
        region = np.ones((2, 2), bool)
        task = ToolTask.of(question(region, [(0, 0)] if query == "pixel" else ()))
        through_xml(round_, images_of(round_, [task]))
        assert [one["name"] for one in raw_labels(made.labels)] == [one.name for one in made.labels]


def test_masks_answer_pixels_alone() -> None:
    round_, tasks, image = two_regions("dominant")
    found, wrong = replies(round_, tasks, [image], replace(ALL_DONE, bare=True))
    assert not found
    assert all("answered in attributes" in one.reason for one in wrong)
