"""Regions and answers on their way to another tool and back: to the pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given as such_that
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adapter_rounds import question, round_of
from tessera.adapters import replies
from tessera.adapters.replies import ToolReply
from tessera.adapters.tasks import ToolRound, ToolTask, outline
from tessera.errors import BadInput
from tessera.formats import images
from tessera.pb.questions_pb2 import PersonAnswer
from tessera.queries.given import Given

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def tasks(draw: Any) -> ToolTask:
    """A region of any form, holes and parts included, anywhere in an image: at its borders too, down to one pixel."""
    mask = draw(SHAPES.flatmap(lambda shape: arrays(np.bool_, shape)))
    if not mask.any():
        mask[draw(st.integers(0, mask.shape[0] - 1)), draw(st.integers(0, mask.shape[1] - 1))] = True
    above, left, below, right = (draw(st.integers(0, 3)) for _ in range(4))
    return ToolTask.of(question(np.pad(mask, ((above, below), (left, right)))))


@settings(deadline=None)
@such_that(tasks())
def test_a_region_survives_its_outlines(task: ToolTask) -> None:
    assert np.array_equal(replies.polygon_mask(task, task.outlines()), task.inside)
    for loop in task.outlines():
        assert loop[:, 0].min() >= task.box[1]
        assert loop[:, 0].max() <= task.box[3]
        assert loop[:, 1].min() >= task.box[0]
        assert loop[:, 1].max() <= task.box[2]


@settings(deadline=None)
@such_that(tasks())
def test_a_region_survives_a_mask_of_its_image(task: ToolTask) -> None:
    whole = task.in_image(task.inside)
    assert whole.shape == (task.height, task.width)
    assert whole.sum() == task.inside.sum()
    assert np.array_equal(replies.crop(task, whole), task.inside)


@settings(deadline=None)
@such_that(tasks(), st.integers(0, 2**32 - 1))
def test_a_drawing_of_the_truth_is_the_truth_and_nothing_outside(task: ToolTask, seed: int) -> None:
    rng, round_ = np.random.default_rng(seed), ToolRound.of(round_of("mask"))
    truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), task.inside.shape)
    truth[tuple(np.argwhere(task.inside)[0])] = 1  # something is drawn
    shapes = [(value, truth == value) for value in (0, 1, 2)]
    said = replies.painted(round_, task, shapes)
    assert said.raster is not None
    assert np.array_equal(said.raster, np.where(task.inside, truth, 255))
    # By outlines instead of masks, in the coordinates of the image.
    drawn = [(value, replies.polygon_mask(task, outline(mask, task.box))) for value, mask in shapes]
    again = replies.painted(round_, task, drawn).raster
    assert again is not None
    assert np.array_equal(again, said.raster)


def test_the_last_shape_lies_on_top() -> None:
    task = ToolTask.of(question(np.ones((2, 2), np.bool_)))
    whole, left = np.ones((2, 2), np.bool_), np.array([[True, False], [True, False]])
    said = replies.painted(ToolRound.of(round_of("mask")), task, [(0, whole), (2, left)])
    assert said.raster is not None
    assert said.raster.tolist() == [[2, 0], [2, 0]]


def test_nothing_inside_the_region_is_no_answer() -> None:
    inside = np.array([[True, False], [True, True]])
    task = ToolTask.of(question(inside))
    with pytest.raises(BadInput, match="nothing is drawn inside"):
        replies.painted(ToolRound.of(round_of("mask")), task, [(0, ~inside)])


def test_labels_are_told_apart_by_name_and_colour() -> None:
    round_ = ToolRound.of(round_of("mask", ["road", "Road", "undefined", ""], ["#000000", "#000001", "", "#ffffff"]))
    assert [one.name for one in round_.labels] == ["road", "Road 2", "undefined", "class 3", "undefined 2"]
    assert [one.value for one in round_.labels] == [0, 1, 2, 3, 255]
    colors = [one.color for one in round_.labels]
    assert len(set(colors)) == 5
    assert "#000000" not in colors
    assert [one.key for one in round_.labels] == ["1", "2", "3", "4", "0"]
    assert round_.value("Road 2") == 1
    assert round_.name(1) == "Road 2"
    assert round_.name(77) == "undefined 2"
    with pytest.raises(BadInput, match=r"Raod.*did you mean"):
        round_.value("Raod")


def test_keys_end_before_classes_do() -> None:
    round_ = ToolRound.of(round_of("dominant", [f"c{at}" for at in range(40)], [""] * 40))
    keys = [one.key for one in round_.labels if one.key]
    assert len(keys) == len(set(keys)) == 25
    assert len({one.color for one in round_.labels}) == 41


def test_what_the_model_predicts_in_the_region() -> None:
    inside = np.array([[True, True, True], [False, True, False]])
    plane = np.array([[2, 2, 0], [1, 2, 1]], np.uint8)
    task = ToolTask.of(question(inside), images.encode_png(plane))
    assert [value for value, _ in task.predicted()] == [2, 0]
    assert task.shares() == {2: 0.75, 0: 0.25}
    assert task.predicted()[0][1].tolist() == [[True, True, False], [False, True, False]]
    assert ToolTask.of(question(inside)).predicted() == []
    with pytest.raises(BadInput):
        ToolTask.of(question(inside), images.encode_png(np.zeros((3, 3), np.uint8)))


def test_marks_belong_to_the_points_that_were_asked_about() -> None:
    task = ToolTask.of(question(np.ones((20, 20), np.bool_), points=((3, 4), (3, 6), (17, 2))))
    round_ = ToolRound.of(round_of("pixel"))
    said = replies.marked(round_, task, [(2, 2.9, 17.1), (1, 6.9, 3.2), (0, 4.5, 3.5), (0, 4.0, 3.0)])
    assert said.classes == (0, 1, 2)
    for marks, reason in (
        ([(0, 4.5, 3.5)], "has no class"),
        ([(0, 4.5, 3.5), (1, 4.6, 3.5)], "two classes"),
        ([(0, 19.0, 19.0)], "at none of the points"),
    ):
        with pytest.raises(BadInput, match=reason):
            replies.marked(round_, task, marks)


def test_classes_by_their_labels() -> None:
    task, one, many = (
        ToolTask.of(question(np.ones((1, 1), np.bool_))),
        ToolRound.of(round_of("dominant")),
        ToolRound.of(round_of("multi_class")),
    )
    assert replies.named(many, task, ["class 2", "undefined", "class 0"]).classes == (0, 2, 255)
    assert replies.named(one, task, ["class 1"]).classes == (1,)
    for round_, names in ((one, []), (many, []), (one, ["class 1", "class 2"]), (one, ["lorry"])):
        with pytest.raises(BadInput):
            replies.named(round_, task, names)


@pytest.mark.parametrize(
    "loop", [[[0, 0], [1, 1]], [[0, 0, 0]], [[0, 0], [1, 0], [float("nan"), 1]], [[0, 0], [1e9, 0], [0, 1]]]
)
def test_a_polygon_that_is_none_is_refused(loop: list[list[float]]) -> None:
    task = ToolTask.of(question(np.ones((2, 2), np.bool_)))
    with pytest.raises(BadInput):
        replies.polygon_mask(task, [loop])


def reply(**changes: Any) -> ToolReply:
    fields = {"question_id": "q", "annotator": "Ada", "tool": "tool/1", "place": "7/9", "changed": "noon",
              "given": Given((1,)), "seconds": 12.0, "clicks": 1}  # fmt: skip
    return ToolReply(**{**fields, **changes})


def test_one_state_of_an_annotation_is_one_answer() -> None:
    round_ = ToolRound.of(round_of("dominant"))
    first, later = replies.answer(reply(), round_), replies.answer(reply(changed="one", seconds=15.0), round_, 12.0)
    assert first == replies.answer(reply(), round_)
    assert first.answer_id != later.answer_id
    assert (first.seconds, later.seconds) == (12.0, 3.0)
    assert list(first.classes.classes) == [1]
    assert replies.earlier(later) == ("7/9", 15.0, "one")
    assert replies.earlier(PersonAnswer(drawing=b"[]")) == ("", 0.0, "")
    assert replies.answer(reply(seconds=-3.0), round_).seconds == 0
    assert replies.answer(reply(seconds=1e9), round_).seconds == 86_400
    huge = replies.answer(reply(facts={"shapes": "x" * (1 << 21)}), round_)
    assert replies.earlier(huge) == ("7/9", 12.0, "noon")


def test_skips_points_and_rasters_are_sent_as_what_they_are() -> None:
    points, mask = ToolRound.of(round_of("pixel")), ToolRound.of(round_of("mask"))
    assert list(replies.answer(reply(given=Given((2, 0))), points).points.classes) == [2, 0]
    assert replies.answer(reply(given=None, skipped=" "), mask).skipped == "skipped"
    raster = np.array([[1, 1], [255, 1]], np.uint8)
    sent = replies.answer(reply(given=Given((), raster)), mask).raster
    assert (list(sent.values), list(sent.lengths)) == ([1, 255, 1], [2, 1, 1])


def test_names_of_annotators_become_ours() -> None:
    assert replies.annotator_name(" Ada Lovelace+x@example.com ") == "Ada-Lovelace-x@example.com"
    assert len(replies.annotator_name("é" * 100)) == 64
    with pytest.raises(BadInput):
        replies.annotator_name(" ")
