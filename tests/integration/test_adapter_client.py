"""Annotations of a tool become answers of a round: each once, corrected where they change, in the name of people."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guide import guided
from integration.desk import Bench, bench, serving
from tessera.adapters import replies
from tessera.adapters.label_studio import rle
from tessera.adapters.replies import ToolReply
from tessera.cli.main import app
from tessera.errors import BadInput
from tessera.pb import questions_pb2 as pb
from tessera.queries.given import runs_to_raster
from tessera.runtime.people.client import GivenRound, QuestionsClient

TOOL = "a-tool/1"


@contextlib.asynccontextmanager
async def opened(url: str, folder: Path, query: str = "mask") -> AsyncIterator[tuple[Bench, QuestionsClient, str]]:
    async with bench(url, folder) as made, serving(made) as address, QuestionsClient(address) as client:
        yield made, client, await made.open(made.small.request(query, undo_seconds=600))


def reply(made: Bench, about: GivenRound, id_: str, **changes: object) -> ToolReply:
    """A mask of the truth."""
    task = about.tasks[id_]
    y0, x0, y1, x1 = task.box
    truth = made.small.truth[task.image_id][y0:y1, x0:x1]
    said = replies.painted(about.round, task, [(value, truth == value) for value in np.unique(truth).tolist()])
    first = ToolReply(id_, "Ada Lovelace", TOOL, "here/7", "2026-01-01T00:00:01Z", said, seconds=5.0, clicks=4)
    return replace(first, **changes)  # type: ignore[arg-type]


async def test_a_tool_holds_questions_and_its_people_answer_each_once(nats_url: str, tmp_path: Path) -> None:
    async with opened(nats_url, tmp_path) as (made, client, key):
        (message,) = await client.rounds("run")
        held = await client.hold(key, "a-tool", 5, 3600)
        assert [one.rank for one in held.questions] == [0, 1, 2, 3, 4]
        assert [one.rank for one in (await client.hold(key, "a-tool", 5, 3600)).questions] == [0, 1, 2, 3, 4]
        # The page gets the others only.
        assert [one.question.rank for one in (await made.next("page", 8)).leases] == [5, 6, 7]
        given = GivenRound(client, message)
        await given.load()
        assert len(given.tasks) == 8
        ids = [one.question_id for one in held.questions]
        assert await given.give(reply(made, given, ids[0])) == "counted"
        assert await given.give(reply(made, given, ids[0])) == "known"
        again = GivenRound(client, message)
        await again.load()
        assert await again.give(reply(made, again, ids[0])) == "known"
        # A later state corrects the answer and brings what was added to its time; an earlier one is past.
        later = reply(made, again, ids[0], changed="2026-01-01T00:00:09Z", seconds=7.5)
        assert await again.give(later) == "counted"
        assert await again.give(reply(made, again, ids[0])) == "replaced"
        early = reply(made, again, ids[0], changed="2025-01-01T00:00:00Z")
        assert await again.give(early) == "replaced"
        told = (await made.progress()).annotators
        assert [(one.annotator, one.answered, one.seconds, one.clicks) for one in told if one.answered] == [
            ("Ada-Lovelace", 1, 7.5, 8)
        ]
        # The same person cannot say another thing elsewhere.
        with pytest.raises(BadInput, match="Ada-Lovelace has answered this question already"):
            await again.give(replace(later, place="here/8"))
        assert await again.give(replace(later, place="here/8", annotator="bob")) == "not_needed"
        # What is answered is held no longer.
        holders = {one.question.rank: list(one.holders) async for one in client.views(key)}
        assert (holders[0], holders[1]) == ([], ["a-tool"])


async def test_a_skip_is_a_skip_and_may_be_taken_back(nats_url: str, tmp_path: Path) -> None:
    async with opened(nats_url, tmp_path) as (made, client, _):
        (message,) = await client.rounds("run")
        given = GivenRound(client, message)
        await given.load()
        id_ = next(iter(given.tasks))
        skip = reply(made, given, id_, given=None, skipped="cannot see it")
        assert await given.give(skip) == "counted"
        assert (await made.progress()).skipped == 1
        again = GivenRound(client, message)
        await again.load()
        assert await again.give(skip) == "known"
        assert await again.give(reply(made, given, id_, changed="2026-01-01T00:00:05Z", seconds=6.0)) == "counted"
        told = await made.progress()
        assert (told.skipped, told.answered, told.seconds) == (0, 1, 6.0)


async def test_a_round_that_is_over_takes_no_answer(nats_url: str, tmp_path: Path) -> None:
    async with opened(nats_url, tmp_path) as (made, client, _):
        (message,) = await client.rounds("run")
        given = GivenRound(client, message)
        await given.load()
        first, second, *_ = given.tasks
        assert await given.give(reply(made, given, first)) == "counted"
        await made.calls.close(pb.CloseRoundRequest(run_id="run"))
        assert await given.give(reply(made, given, second)) == "late"
        fresh = GivenRound(client, message)
        await fresh.load()
        assert await fresh.give(reply(made, fresh, first)) in ("known", "counted")


@pytest.mark.parametrize("query", ["mask", "dominant"])
async def test_files_of_label_studio_carry_a_round_there_and_back(
    nats_url: str, tmp_path: Path, query: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(nats_url, tmp_path) as made, serving(made) as address:
        await made.open(made.small.request(query, undo_seconds=600))
        monkeypatch.setenv("TESSERA_COORDINATOR", address)
        monkeypatch.setenv("TESSERA_STORE", (tmp_path / "store").as_uri())

        async def run(words: list[str], *more: object, **replaced: object) -> list[str]:
            words = [str(replaced.get(word.partition(".")[0], word)) for word in words[1:]]
            await asyncio.to_thread(app, [*words, *map(str, more)], standalone_mode=False)
            return capsys.readouterr().out.splitlines()

        export = guided("tessera people export-tasks", "docs/adapters.md")
        lines = await run(export, "--count", 6, RUN="run", tasks=tmp_path / "out")
        assert "6 tasks of round 0" in lines[0]
        assert 'name="image"' in (tmp_path / "out" / "labels.xml").read_text()
        tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
        assert all(one["data"]["image"].startswith("data:image/png;base64,") for one in tasks)
        # What was exported is held: nobody else gets it.
        assert [one.question.rank for one in (await made.next("page", 8)).leases] == [6, 7]
        exported = tmp_path / "project.json"
        exported.write_text(json.dumps([annotated(made, query, at, one) for at, one in enumerate(tasks)]))
        read = guided("tessera people import-answers", "docs/adapters.md")
        lines = await run(read, RUN="run", project=exported)
        assert lines[0] == "5 counted"
        assert lines[1:] == ["not read: project.json task 5: has no annotation yet"]
        assert (await run(read, RUN="run", project=exported))[0] == "5 known"
        told = (await made.progress()).annotators
        assert [(one.annotator, one.answered, one.seconds) for one in told if one.answered] == [
            ("ada@example.com", 5, 20.0)
        ]
        await made.calls.close(pb.CloseRoundRequest(run_id="run"))
        assert "is over; its answers came too late" in (await run(read, RUN="run", project=exported))[1]
        with pytest.raises(SystemExit):
            await run(export, RUN="run", tasks=tmp_path / "again")
        assert "has no open round" in capsys.readouterr().err


def annotated(made: Bench, query: str, at: int, task: dict[str, Any]) -> dict[str, Any]:
    """A task as Label Studio exports it once Ada has answered from the truth; the last one is open."""
    truth = made.small.truth[task["data"]["image_id"]]
    if query == "dominant":
        results = [{"type": "choices", "from_name": "answer", "value": {"choices": ["class 1"]}}]
    else:
        results = [
            {"type": "brushlabels", "from_name": "brush", "original_width": 8, "original_height": 8,
             "value": {"format": "rle", "rle": rle.encode(truth == value), "brushlabels": [f"class {value}"]}}
            for value in range(3)
        ]  # fmt: skip
    one = {
        "id": 100 + at,
        "completed_by": 1,
        "result": results,
        "lead_time": 4.0,
        "updated_at": f"2026-01-01T00:00:0{at}Z",
    }
    return {"id": at, "data": task["data"], "annotations": [one] if at < 5 else []}


async def test_masks_that_come_back_are_the_truth(nats_url: str, tmp_path: Path) -> None:
    async with opened(nats_url, tmp_path) as (made, client, _):
        (message,) = await client.rounds("run")
        given = GivenRound(client, message)
        await given.load()
        for id_ in given.tasks:
            await given.give(reply(made, given, id_))
        async for view in client.views(message.key, answers=True):
            task = given.tasks[view.question.question_id]
            y0, x0, y1, x1 = task.box
            raster = view.answers[0].answer.raster
            seen = runs_to_raster(raster.values, raster.lengths, y1 - y0, x1 - x0)
            assert np.array_equal(seen[task.inside], made.small.truth[task.image_id][y0:y1, x0:x1][task.inside])
