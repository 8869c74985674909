"""An annotator who answers questions from the truth, through QuestionsService alone."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from integration.loop import RECIPE
from tessera.errors import TesseraError, Unavailable
from tessera.pb import questions_pb2 as pb
from tessera.queries import AnnotatedImage, ask
from tessera.queries.given import raster_to_runs, runs_to_mask, shape_of
from tessera.runtime.rpc import Channel

SERVICE = "tessera.v1.QuestionsService"
_SMALL = {"budget": {"unit": "regions", "per_round": 8, "rounds": 1}}
_SEEDS = {"partition": {"name": "seeds", "size": 16}}
QUERIES: dict[str, dict[str, Any]] = {
    "mask": _SMALL,
    "dominant": {**_SMALL, **_SEEDS, "query": {"name": "dominant"}},
    "multi_class": {
        **_SMALL,
        **_SEEDS,
        "query": {"name": "multi_class", "trim": 3},
        "training": {**RECIPE["training"], "without_pixels": "skip"},
    },
}
"""Changes of the tests' recipe by the query that people are asked."""


def answer(
    question: pb.PersonQuestion,
    round_: pb.QuestionRound,
    truth: np.ndarray[Any, np.dtype[np.uint8]],
    answer_id: str = "",
    seconds: float = 3.0,
) -> pb.PersonAnswer:
    """The answer that somebody gives who sees the truth."""
    box = question.box
    inside = runs_to_mask(question.region.counts, box.y1 - box.y0, box.x1 - box.x0)
    regions = np.ones(truth.shape, np.int32)
    regions[box.y0 : box.y1, box.x0 : box.x1] = np.where(inside, 0, 1)
    frame = AnnotatedImage(question.image_id, truth, regions, round_.ignore_index, len(round_.classes))
    seen = frame.question(0, (box.y0, box.x0, box.y1, box.x1))
    made = pb.PersonAnswer(answer_id=answer_id or uuid.uuid4().hex, seconds=seconds, clicks=2, page_version="robot/1")
    kind = shape_of(round_.query.name)
    if kind == "points":
        made.points.classes.extend(int(truth[point.y, point.x]) for point in question.points)
        return made
    said = ask(seen, (round_.query.name, round_.query.parameters))
    if kind == "raster":
        assert said.crop is not None
        values, lengths = raster_to_runs(said.crop)
        made.raster.values.extend(values)
        made.raster.lengths.extend(lengths)
    else:
        made.classes.classes.extend(said.classes)
    return made


@dataclass
class Robot:
    """Answers whatever a run asks until it is told to stop. Calls that fail are sent again with the same answer id."""

    address: Callable[[], str]
    run_id: str
    truth: Mapping[str, np.ndarray[Any, np.dtype[np.uint8]]]
    name: str = "robot"
    count: int = 1
    change: Callable[[pb.PersonQuestion, pb.PersonAnswer], pb.PersonAnswer] = lambda question, answer: answer
    told: dict[str, list[str]] = field(default_factory=dict)
    """Answer ids by question, those of answers that were acknowledged as counted."""
    held: dict[str, list[str]] = field(default_factory=dict)
    waits: list[int] = field(default_factory=list)
    stopped: Callable[[], bool] = lambda: False

    async def call(self, method: str, request: Any, response: Any) -> Any:
        async with Channel(self.address()) as channel:
            return await channel.call(f"{SERVICE}/{method}", request, response, 10.0)

    async def patiently(self, method: str, request: Any, response: Any) -> Any:
        """Call until the service answers."""
        while True:
            try:
                return await self.call(method, request, response)
            except (Unavailable, OSError):
                if self.stopped():
                    raise
                await asyncio.sleep(0.1)

    async def once(self) -> int:
        """Take questions and answer them; returns how many."""
        request = pb.NextQuestionsRequest(run_id=self.run_id, annotator=self.name, count=self.count)
        found: pb.NextQuestionsResponse = await self.patiently("NextQuestions", request, pb.NextQuestionsResponse)
        self.waits.append(found.wait)
        for lease in found.leases:
            await self.give(lease.question, found.round)
        return len(found.leases)

    async def give(self, question: pb.PersonQuestion, round_: pb.QuestionRound) -> int:
        """Answer one question and return the outcome."""
        id_ = hashlib.sha256(f"{self.name} {question.question_id}".encode()).hexdigest()[:32]
        said = self.change(question, answer(question, round_, self.truth[question.image_id], id_))
        request = pb.AnswerQuestionRequest(question_id=question.question_id, annotator=self.name, answer=said)
        response = await self.patiently("AnswerQuestion", request, pb.AnswerQuestionResponse)
        if response.outcome == pb.ANSWER_OUTCOME_COUNTED:
            self.told.setdefault(question.question_id, []).append(id_)
        return int(response.outcome)

    async def work(self, done: Callable[[], bool]) -> None:
        """Answer until ``done``."""
        self.stopped = done
        while not done():
            with contextlib.suppress(TesseraError, OSError):
                if await self.once():
                    continue
            await asyncio.sleep(0.05)


def coordinator_of(out: Path) -> str:
    """Address of the coordinator of ``tessera run --out OUT``; Unavailable before it is known."""
    from tessera.cli.stack import stack_facts

    found = stack_facts(out)
    if not found:
        raise Unavailable("no stack yet")
    return found["coordinator"]
