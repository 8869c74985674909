"""Annotations of a tool become answers of a round: each once, corrected where they change, in the name of people."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from integration.desk import Bench, bench, serving
from tessera.adapters import replies
from tessera.adapters.replies import ToolReply
from tessera.errors import BadInput
from tessera.pb import questions_pb2 as pb
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
