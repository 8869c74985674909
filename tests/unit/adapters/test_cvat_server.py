"""Questions on a recorded CVAT server through cvat-sdk: put and fetched once, after stops again, with clear errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cvat_sdk", reason="cvat-sdk is not installed: pip install 'tessera-al[cvat]'")

from adapter_rounds import question, round_of
from recorded_cvat import NOW, TOKEN, RecordedCvat, recorded
from tessera.adapters.cvat.questions import image_name
from tessera.adapters.cvat.shapes import mask_shape
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput, Unavailable
from tessera.formats import images as pictures
from tessera.runtime.people.cvat import CvatServer
from tessera.runtime.people.cvat_rounds import fetch, put


@pytest.fixture
def cvat() -> Iterator[RecordedCvat]:
    with recorded(RecordedCvat()) as made:
        yield made


def asked(query: str = "mask", images: int = 3) -> tuple[ToolRound, list[ToolTask]]:
    """Two questions about each image, with what the model predicts."""
    tasks = []
    for rank in range(2 * images):
        region = np.zeros((6, 8), bool)
        region[:, 4 * (rank % 2) : 4 * (rank % 2) + 4] = True
        region[2, 1] = region[2, 6] = False
        one = question(region, [(0, 4 * (rank % 2))], rank, f"image{rank // 2}")
        one.image.key = f"pool/image{rank // 2}.png"
        box = one.box
        plane = np.full((box.y1 - box.y0, box.x1 - box.x0), rank % 3, np.uint8)
        tasks.append(ToolTask.of(one, pictures.encode_png(plane)))
    return ToolRound.of(round_of(query)), tasks


def files(folder: Path) -> Any:
    def made(tasks: Sequence[ToolTask]) -> list[Path]:
        found = []
        for task in tasks:
            path = folder / image_name(task)
            path.write_bytes(pictures.encode_png(np.zeros((task.height, task.width, 3), np.uint8)))
            found.append(path)
        return found

    return made


def no_files(tasks: Sequence[ToolTask]) -> list[Path]:
    raise AssertionError("nothing is to be uploaded")


def by_label(cvat: RecordedCvat, name: str) -> dict[str, Any]:
    return next(one for one in cvat.labels.values() if one["name"] == name)


def test_a_round_is_put_answered_and_fetched_once(cvat: RecordedCvat, tmp_path: Path) -> None:
    round_, tasks = asked()
    with CvatServer(cvat.url, TOKEN) as server:
        place = put(server, round_, tasks, files(tmp_path), images_per_job=2)
        assert (place.jobs, place.drawn) == (2, 2)
        (made,) = cvat.tasks.values()
        assert [one["name"] for one in cvat.frames[made["id"]]] == ["image0.png", "image1.png", "image2.png"]
        kinds = [(one["type"], one["source"]) for job in cvat.drawn.values() for one in job["shapes"]]
        assert sorted(set(kinds)) == [("mask", "auto"), ("mask", "file")]
        assert kinds.count(("mask", "file")) == 6
        # Again: everything is there.
        again = put(server, round_, tasks, no_files, images_per_job=2)
        assert (again.task, again.drawn) == (place.task, 0)
        assert cvat.calls("POST", "/api/projects") == cvat.calls("POST", "/api/tasks") == 1
        harvest = fetch(server, round_, tasks, "somebody")
        assert not harvest.replies
        assert [one.reason for one in harvest.rejections] == ["is new; its answers count when it is completed"] * 2
        # The first job is done: its annotator accepts the prediction but for one mask on the right of image 0.
        first, second = sorted(cvat.jobs)
        car = mask_shape(np.ones((6, 4), bool), (0, 4))
        cvat.drawn[first]["shapes"].append(
            {"type": "mask", "label_id": by_label(cvat, "class 2")["id"], "frame": 0, "points": [float(v) for v in car],
             "z_order": 1, "source": "manual", "attributes": [], "occluded": False, "rotation": 0.0, "group": 0}
        )  # fmt: skip
        cvat.finish(first, "ann")
        cvat.finish(second, "bob", state="in progress")
        harvest = fetch(server, round_, tasks, "somebody")
        assert (harvest.jobs, harvest.finished) == (2, 1)
        assert [one.question_id.rpartition(".")[2] for one in harvest.replies] == ["0", "1", "2", "3"]
        assert {one.annotator for one in harvest.replies} == {"ann"}
        for reply, task, value in zip(harvest.replies, tasks, (0, 2, 2, 0), strict=False):
            assert reply.given is not None
            assert np.array_equal(reply.given.raster, np.where(task.inside, value, 255))
        assert [one.reason for one in harvest.rejections] == ["is in progress; its answers count when it is completed"]
        # The same answers have the same ids for ever; nobody assigned: the name that was given.
        assert [one.answer_id for one in fetch(server, round_, tasks, "x").replies] == [
            one.answer_id for one in harvest.replies
        ]
        cvat.finish(second)
        assert {one.annotator for one in fetch(server, round_, tasks, "x").replies} == {"ann", "x"}
        cvat.deleted[made["id"]] = [2]
        gone = fetch(server, round_, tasks, "x")
        assert len(gone.replies) == 4
        assert [one.reason for one in gone.rejections] == ["image 'image2.png' is deleted there"]


@pytest.mark.parametrize("query", ["dominant", "multi_class", "pixel"])
def test_attributes_answer_on_the_server(cvat: RecordedCvat, tmp_path: Path, query: str) -> None:
    round_, tasks = asked(query, images=1)
    with CvatServer(cvat.url, TOKEN) as server:
        put(server, round_, tasks, files(tmp_path))
        (job,) = cvat.jobs
        label = by_label(cvat, "point" if query == "pixel" else "region")
        name = "class 1" if query == "multi_class" else "class"
        (spec,) = [one["id"] for one in label["attributes"] if one["name"] == name]
        value = "true" if query == "multi_class" else "class 1"
        for shape in cvat.drawn[job]["shapes"]:
            for one in shape["attributes"]:
                one["value"] = value if one["spec_id"] == spec else one["value"]
        cvat.finish(job, "ann")
        harvest = fetch(server, round_, tasks, "x")
    assert not harvest.rejections
    assert [one.given.classes for one in harvest.replies if one.given] == [(1,), (1,)]


def test_images_are_referred_to_in_a_cloud_storage(cvat: RecordedCvat) -> None:
    round_, tasks = asked(images=1)
    cvat.cloud["pool/image0.png"] = pictures.encode_png(np.zeros((6, 8, 3), np.uint8))
    with CvatServer(cvat.url, TOKEN) as server:
        put(server, round_, tasks, no_files, cloud_storage=5)
        (job,) = cvat.jobs
        cvat.finish(job, "ann")
        assert len(fetch(server, round_, tasks, "x").replies) == 2
        tasks[0].image.key = tasks[1].image.key = "cas/sha256/ab"
        with pytest.raises(BadInput, match="has no ending, which CVAT needs"):
            put(server, replace(round_, key="cd" * 32), tasks, no_files, cloud_storage=5)


@pytest.mark.parametrize(
    "stop", ["POST /api/projects", "POST /api/tasks", "POST .*/data/?", "GET .*/meta", "PUT .*/annotations/?"]
)
def test_what_was_cut_off_is_made_again(cvat: RecordedCvat, tmp_path: Path, stop: str) -> None:
    import re

    round_, tasks = asked()
    tried: list[str] = []

    def fault(method: str, path: str) -> int | None:
        if re.fullmatch(stop, f"{method} {path}"):
            tried.append(path)
            # The second job, where there are two.
            return 500 if len(tried) == (2 if "annotations" in stop or "/data/" in stop else 1) else None
        return None

    cvat.fault = fault
    with CvatServer(cvat.url, TOKEN) as server, pytest.raises(Unavailable, match=r"does not .* \(500"):
        put(server, round_, tasks, files(tmp_path), images_per_job=2)
    with CvatServer(cvat.url, TOKEN) as server:
        place = put(server, round_, tasks, files(tmp_path), images_per_job=2)
        assert place.jobs == 2
        for job in cvat.jobs:
            cvat.finish(job, "ann")
        assert len(fetch(server, round_, tasks, "x").replies) == 6
    assert (len(cvat.projects), len(cvat.tasks)) == (1, 1)


def test_a_job_that_somebody_began_is_left_as_it_is(cvat: RecordedCvat, tmp_path: Path) -> None:
    round_, tasks = asked(images=1)
    with CvatServer(cvat.url, TOKEN) as server:
        put(server, round_, tasks, files(tmp_path))
        (job,) = cvat.jobs
        cvat.drawn[job]["shapes"] = []
        cvat.jobs[job]["state"] = "in progress"
        assert put(server, round_, tasks, no_files).drawn == 0
        assert not cvat.drawn[job]["shapes"]


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (401, BadInput, "does not know the access token"),
        (403, BadInput, "may not read its projects"),
        (404, BadInput, "nothing is there"),
        (400, BadInput, "refuses to read its projects"),
        (500, Unavailable, "does not read its projects"),
        (503, Unavailable, "does not read its projects"),
    ],
)
def test_errors_say_what_was_asked_and_never_the_token(
    cvat: RecordedCvat, status: int, kind: type[Exception], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cvat.fault = lambda method, path: status
    round_, tasks = asked()
    with CvatServer(cvat.url, TOKEN) as server, pytest.raises(kind) as caught:
        fetch(server, round_, tasks, "x")
    assert str(caught.value).startswith(f"CVAT {cvat.url}")
    assert text in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert TOKEN not in caplog.text
    assert caught.value.__cause__ is None


def test_a_server_that_is_silent_or_gone_or_none_is_named(cvat: RecordedCvat) -> None:
    round_, tasks = asked()
    with CvatServer(cvat.url, "wrong") as server, pytest.raises(BadInput, match="does not know the access token"):
        fetch(server, round_, tasks, "x")
    cvat.fault = lambda method, path: 0
    with CvatServer(cvat.url, TOKEN, timeout=(0.2, 0.2)) as server, pytest.raises(Unavailable, match="does not read"):
        fetch(server, round_, tasks, "x")
    with CvatServer("http://127.0.0.1:1", TOKEN) as server, pytest.raises(Unavailable, match="does not read"):
        fetch(server, round_, tasks, "x")
    with pytest.raises(BadInput, match="no address"):
        CvatServer("ftp://x", TOKEN)
    for token in ("", "a\nb"):
        with pytest.raises(BadInput, match="access token is empty or none"):
            CvatServer(cvat.url, token)


def test_a_project_with_other_labels_is_refused(cvat: RecordedCvat, tmp_path: Path) -> None:
    round_, tasks = asked()
    with CvatServer(cvat.url, TOKEN) as server:
        with pytest.raises(BadInput, match="put the round there first"):
            fetch(server, round_, tasks, "x")
        put(server, round_, tasks, files(tmp_path))
        by_label(cvat, "class 1")["name"] = "horse"
        with pytest.raises(BadInput, match="has no label 'class 1'"):
            put(server, round_, tasks, no_files)
        # Shapes of it are of no class of the round.
        for job in cvat.jobs:
            cvat.finish(job, "ann", at=NOW)
        harvest = fetch(server, round_, tasks, "x")
        assert any("label 'horse' is none of this round" in one.reason for one in harvest.rejections)
