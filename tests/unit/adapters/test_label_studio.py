"""Label Studio's files: what is exported and accepted as it is comes back to the pixel; what does not fit is named."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from hypothesis import given as such_that
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adapter_rounds import question, round_of
from tessera.adapters import replies
from tessera.adapters.label_studio import config, reading, rle, tasks
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput
from tessera.formats import images

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(np.bool_, shape))
QUERIES = ("dominant", "multi_class", "mask", "pixel", "polygon_in_patch", "image")


def decoded(data: list[int]) -> list[int]:
    """thi.ng's decoder, word by word as its source has it."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    size = take(32)
    width = take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    out = [0] * size
    i = 0
    while i < size:
        repeats = take(1)
        j = i + 1 + take(sizes[take(2)])
        if repeats:
            out[i:j] = [take(width)] * (j - i)
            i = j
        else:
            while i < j:
                out[i] = take(width)
                i += 1
    return out


@settings(deadline=None)
@such_that(MASKS)
def test_a_mask_survives_label_studios_code(mask: Any) -> None:
    coded = rle.encode(mask)
    assert decoded(coded) == np.repeat(mask.ravel() * 255, 4).tolist()
    assert np.array_equal(rle.decode(coded, *mask.shape), mask)


def test_long_runs_and_words_of_any_length_are_read() -> None:
    mask = np.zeros((300, 200), np.bool_)
    mask[120:, 7:] = True
    assert np.array_equal(rle.decode(rle.encode(mask), 300, 200), mask)
    # 2 pixels as literal words of 9 bits with counts of 5 bits; the alphas are 127 and 128.
    values = [0, 0, 0, 127, 9, 9, 9, 128]
    bits = f"{8:032b}{8:05b}" + f"{4:04b}" * 4 + "0" + "10" + f"{7:05b}" + "".join(f"{one:09b}" for one in values)
    bits += "0" * (-len(bits) % 8)
    data = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert decoded(data) == values
    assert rle.decode(data, 1, 2).tolist() == [[False, True]]


@pytest.mark.parametrize(
    "change",
    [lambda one: one[:-2], lambda one: [], lambda one: [300], lambda one: ["x"], lambda one: [0, 0, 0, 9, *one[4:]]],
)
def test_a_code_that_is_none_is_refused(change: Any) -> None:
    with pytest.raises(BadInput, match="brush mask"):
        rle.decode(change(rle.encode(np.eye(5, dtype=bool))), 5, 5)


@pytest.mark.parametrize("query", QUERIES)
def test_each_query_has_a_configuration_with_all_its_labels(query: str) -> None:
    round_ = ToolRound.of(round_of(query, ['a "quoted" <b> & c', "road", "road"]))
    top = Xml.fromstring(config.labelling_config(round_))  # noqa: S314  # our own
    names = {one.get("name") for one in top.iter() if one.get("name")}
    assert {config.IMAGE, config.REGION} <= names
    main = {"dominant": config.CHOICES, "multi_class": config.CHOICES, "pixel": config.MARKS,
            "polygon_in_patch": config.POLYGON}.get(query, config.BRUSH)  # fmt: skip
    (control,) = (one for one in top.iter() if one.get("name") == main)
    assert [one.get("value") for one in control] == [one.name for one in round_.labels]
    assert [one.get("hotkey") for one in control] == ["1", "2", "3", "0"]
    assert control.get("toName") == config.IMAGE
    assert len([one for one in top.iter() if one.get("hotkey")]) == 4


def exported(task: dict[str, Any], results: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A task as Label Studio exports it after somebody submitted ``results``, by default the prediction as it was."""
    shapes = task["predictions"][0]["result"] if results is None else results
    one = {"id": 9, "completed_by": 1, "result": shapes, "was_cancelled": False, "lead_time": 12.5,
           "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:07Z", **changes}  # fmt: skip
    return {"id": 7, "project": 3, "data": task["data"], "annotations": [one]}


@st.composite
def predicted(draw: Any) -> tuple[ToolTask, Any]:
    """A region anywhere in an image, and a model's prediction of it."""
    mask = draw(MASKS)
    mask[draw(st.integers(0, mask.shape[0] - 1)), draw(st.integers(0, mask.shape[1] - 1))] = True
    whole = np.pad(mask, [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2)])
    asked = question(whole)
    shape = asked.box.y1 - asked.box.y0, asked.box.x1 - asked.box.x0
    plane = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2])))
    return ToolTask.of(asked, images.encode_png(plane)), plane


@settings(deadline=None)
@such_that(predicted())
def test_the_region_is_in_the_task_to_the_pixel(made: tuple[ToolTask, Any]) -> None:
    task, _ = made
    sent = json.loads(json.dumps(tasks.to_task(ToolRound.of(round_of("dominant")), task, "x.png")))
    loops = [np.array(one["value"]["points"]) * (task.width / 100, task.height / 100)
             for one in sent["predictions"][0]["result"] if one["from_name"] == config.REGION]  # fmt: skip
    assert np.array_equal(replies.polygon_mask(task, loops), task.inside)
    assert all(one["readonly"] for one in sent["predictions"][0]["result"] if one["from_name"] == config.REGION)


@pytest.mark.parametrize("query", ["mask", "polygon_in_patch"])
@settings(deadline=None)
@such_that(made=predicted())
def test_a_prediction_that_is_submitted_comes_back_to_the_pixel(query: str, made: tuple[ToolTask, Any]) -> None:
    task, plane = made
    round_ = ToolRound.of(round_of(query))
    sent = json.loads(json.dumps(exported(tasks.to_task(round_, task, "x.png"))))
    (said,), rejected = reading.read([sent], lambda _: (round_, task), {1: "ada@example.com"})
    assert rejected == []
    assert said.given is not None
    assert said.given.raster is not None
    assert np.array_equal(said.given.raster, np.where(task.inside, plane, 255))
    assert (said.annotator, said.seconds, said.changed) == ("ada@example.com", 12.5, "2026-01-01T00:00:07Z")


def standing(query: str) -> tuple[ToolRound, ToolTask]:
    inside = np.ones((4, 5), np.bool_)
    points = ((0, 1), (3, 4)) if query == "pixel" else ()
    plane = np.array([[2] * 5] * 3 + [[0] * 5], np.uint8)
    return ToolRound.of(round_of(query)), ToolTask.of(question(inside, points), images.encode_png(plane))


def test_choices_and_marks_come_back() -> None:
    for query, expected in (("dominant", (2,)), ("multi_class", (0, 2)), ("pixel", (2, 0))):
        round_, task = standing(query)
        sent = tasks.to_task(round_, task, "x.png")
        assert sent["predictions"][0]["score"] == 0.75
        assert sent["predictions"][0]["model_version"] == "run round 1"
        (said,), rejected = reading.read([exported(sent)], lambda _, found=(round_, task): found, {})
        assert rejected == []
        assert said.given is not None
        assert said.given.classes == expected
        assert said.annotator == "label-studio-user-1"


def test_without_a_model_there_is_the_region_alone() -> None:
    round_, task = standing("mask")
    bare = ToolTask.of(question(task.inside))
    sent = tasks.to_task(round_, bare, "x.png")["predictions"][0]
    assert [one["from_name"] for one in sent["result"]] == [config.REGION]
    assert "score" not in sent
    image = ToolRound.of(round_of("image"))
    assert tasks.to_task(image, bare, "x.png")["predictions"][0]["result"] == []


def test_a_cancelled_annotation_is_a_skip() -> None:
    round_, task = standing("mask")
    sent = exported(tasks.to_task(round_, task, "x"), [], was_cancelled=True)
    (said,), _ = reading.read([sent], lambda _: (round_, task), {})
    assert (said.given, said.skipped, said.seconds) == (None, "skipped in Label Studio", 12.5)


def test_the_same_annotation_is_the_same_answer_and_a_changed_one_is_another() -> None:
    round_, task = standing("dominant")

    def id_(**changes: Any) -> str:
        sent = exported(tasks.to_task(round_, task, "x"), **changes)
        return reading.read([sent], lambda _: (round_, task), {})[0][0].answer_id

    assert id_() == id_() == id_(lead_time=99.0)
    assert len({id_(), id_(id=10), id_(updated_at="2026-01-02T00:00:00Z")}) == 3
    assert id_(id=10, unique_id="u") == id_(id=11, unique_id="u")


def test_of_two_annotations_of_one_person_the_last_counts() -> None:
    round_, task = standing("dominant")
    sent = exported(tasks.to_task(round_, task, "x"))
    first = {**sent["annotations"][0], "id": 8, "updated_at": "2026-01-01T00:00:01Z"}
    other = {**sent["annotations"][0], "id": 10, "completed_by": {"id": 2, "email": "bob@example.com"}}
    said, rejected = reading.read(
        [{**sent, "annotations": [first, *sent["annotations"], other]}], lambda _: (round_, task), {}
    )
    assert [(one.facts["annotation"], one.annotator) for one in said] == [
        (9, "label-studio-user-1"),
        (10, "bob@example.com"),
    ]
    assert [(one.place, "later one" in one.reason) for one in rejected] == [("task 7 annotation 8", True)]


def brush(name: str = "class 1", **changes: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": rle.encode(np.ones((4, 5), np.bool_)), "brushlabels": [name]}
    return {
        "type": "brushlabels",
        "from_name": "brush",
        "original_width": 5,
        "original_height": 4,
        "value": value,
        **changes,
    }


TWO = {"type": "choices", "from_name": "answer", "value": {"choices": ["class 0", "class 1"]}}


@pytest.mark.parametrize(
    ("query", "results", "reason"),
    [
        ("mask", [], "nothing is drawn inside the region"),
        ("mask", [brush("lorry")], "label 'lorry': is no class"),
        ("mask", [brush(original_width=10)], "drawn on an image of 10×4 pixels"),
        ("mask", [brush(image_rotation=90)], "turned by 90°"),
        ("mask", [brush(type="ellipselabels", value={"ellipselabels": ["class 1"]})], "type 'ellipselabels'"),
        ("mask", [brush(value={"brushlabels": ["class 0", "class 1"]})], "2 labels"),
        ("mask", [brush(value={"format": "png", "brushlabels": ["class 1"]})], "only rle is read"),
        ("mask", [{"from_name": "brush"}], "KeyError"),
        ("mask", ["x"], "AttributeError"),
        ("dominant", [], "no class is chosen"),
        ("dominant", [TWO], "exactly one"),
        ("pixel", [], "has no class; mark every point"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_reason(query: str, results: list[Any], reason: str) -> None:
    round_, task = standing(query)
    sent = exported(tasks.to_task(round_, task, "x"), results)
    said, (rejected,) = reading.read([sent], lambda _: (round_, task), {})
    assert said == []
    assert rejected.place == "task 7 annotation 9"
    assert reason in rejected.reason


def test_foreign_and_unfinished_tasks_are_named() -> None:
    round_, task = standing("mask")

    def lookup(id_: str) -> tuple[ToolRound, ToolTask]:
        if id_ != task.question_id:
            raise BadInput(f"question {id_}: is of no round of this run")
        return round_, task

    sent = exported(tasks.to_task(round_, task, "x"))
    foreign = {**sent, "id": 1, "data": {"image": "x"}}
    other = {**sent, "id": 2, "data": {"question": "q"}}
    new, draft = ({**sent, "id": at, "annotations": [], "drafts": drafts} for at, drafts in ((3, []), (4, [{}])))
    said, rejected = reading.read([foreign, other, new, draft], lookup, {})
    assert said == []
    assert [(one.place, one.reason.split(";")[0]) for one in rejected] == [
        ("task 1", "names no question in its data"),
        ("task 2", "question q: is of no round of this run"),
        ("task 3", "has no annotation yet"),
        ("task 4", "has only a draft"),
    ]
    assert reading.parsed(json.dumps([sent]).encode(), "f") == [sent]
    for data in (b"{", b"{}", b'[{"image": 1}]'):
        with pytest.raises(BadInput, match=r"^f: is no "):
            reading.parsed(data, "f")


def test_clicks_are_the_fewest_that_give_the_answer() -> None:
    round_, task = standing("mask")
    polygon = {"type": "polygonlabels", "from_name": "polygon",
               "value": {"points": [[0, 0], [100, 0], [100, 100]], "polygonlabels": ["class 0"]}}  # fmt: skip
    sent = exported(tasks.to_task(round_, task, "x"), [brush(), polygon, brush(origin="prediction")])
    (said,), _ = reading.read([sent], lambda _: (round_, task), {})
    assert said.clicks == 2 + 4
