"""Questions for the labelling page without a coordinator: one round, kept in memory, which a test controls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.world import World
from tessera.errors import BadInput, Unavailable
from tessera.formats import images
from tessera.formats.media import PNG
from tessera.pb import questions_pb2 as pb
from tessera.regions import partition, region_table
from tessera.runtime import rpc
from unit.reporting.sample import COLORS, NAMES, scene

KEY = "ab" * 32
SERVICE = "tessera.v1.QuestionsService"


def counts(mask: NDArray[np.bool_]) -> list[int]:
    """Runs of a box mask, as the protocol has them."""
    flat = mask.reshape(-1)
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths


@dataclass
class Crowd:
    """One open round, and everything that was called about it."""

    query: str
    classes: Sequence[tuple[str, tuple[int, int, int]]] = tuple(zip(NAMES, COLORS, strict=True))
    questions: list[pb.PersonQuestion] = field(default_factory=list)
    truth: list[NDArray[np.uint8]] = field(default_factory=list)
    holders: dict[str, str] = field(default_factory=dict)
    answers: dict[str, pb.PersonAnswer] = field(default_factory=dict)
    counted: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    away: bool = False
    delay: float = 0.0
    wait: int | None = None
    """Why there is no question for anybody; None: as the questions stand."""

    def endpoints(self) -> list[rpc.Endpoint]:
        return [
            rpc.Unary(f"{SERVICE}/ListRounds", pb.ListRoundsRequest, self._rounds),
            rpc.Unary(f"{SERVICE}/NextQuestions", pb.NextQuestionsRequest, self._next),
            rpc.Unary(f"{SERVICE}/RenewLeases", pb.RenewLeasesRequest, self._renew),
            rpc.Unary(f"{SERVICE}/AnswerQuestion", pb.AnswerQuestionRequest, self._answer),
            rpc.Unary(f"{SERVICE}/CorrectAnswer", pb.CorrectAnswerRequest, self._correct),
            rpc.Unary(f"{SERVICE}/SkipQuestion", pb.SkipQuestionRequest, self._skip),
            rpc.Unary(f"{SERVICE}/GetProgress", pb.GetProgressRequest, self._progress_call),
        ]

    def round(self) -> pb.QuestionRound:
        made = pb.QuestionRound(
            key=KEY, run_ids=["meal-2"], round=3, state=pb.ROUND_STATE_OPEN, ignore_index=255,
            questions=len(self.questions), overlap=1, dataset_name="street",
        )  # fmt: skip
        made.query.name, made.query.parameters = self.query, "{}"
        for index, (name, color) in enumerate(self.classes):
            made.classes.add(index=index, name=name, color="#{:02x}{:02x}{:02x}".format(*color))
        return made

    def progress(self) -> pb.RoundProgress:
        names = set(self.holders.values())
        made = pb.RoundProgress(questions=len(self.questions), answered=len(self.answers), agreement=-1)
        for name in sorted(names):
            mine = sum(holder == name and key in self.answers for key, holder in self.holders.items())
            made.annotators.add(annotator=name, answered=mine)
        return made

    async def _here(self) -> None:
        await asyncio.sleep(self.delay)
        if self.away:
            raise Unavailable("the coordinator restarts")

    async def _rounds(self, request: pb.ListRoundsRequest) -> pb.ListRoundsResponse:
        await self._here()
        one = self.round()
        return pb.ListRoundsResponse(rounds=[one] if request.run_id in ("", *one.run_ids) else [])

    async def _next(self, request: pb.NextQuestionsRequest) -> pb.NextQuestionsResponse:
        await self._here()
        made = pb.NextQuestionsResponse(round=self.round(), progress=self.progress())
        open_ = [one for one in self.questions if one.question_id not in self.answers]
        mine = [one for one in open_ if self.holders.get(one.question_id) == request.annotator]
        free = [one for one in open_ if one.question_id not in self.holders]
        for one in (mine + free)[: request.count]:
            self.holders[one.question_id] = request.annotator
            lease = made.leases.add(question=one)
            lease.expires.FromSeconds(int(time.time()) + 600)
        if len(made.leases) < request.count:
            made.wait = (pb.NEXT_WAIT_HELD if open_ else pb.NEXT_WAIT_CLOSED) if self.wait is None else self.wait
        return made

    async def _renew(self, request: pb.RenewLeasesRequest) -> pb.RenewLeasesResponse:
        await self._here()
        made = pb.RenewLeasesResponse()
        for question_id in request.question_ids:
            made.leases.add().question.question_id = question_id
        return made

    async def _answer(self, request: pb.AnswerQuestionRequest) -> pb.AnswerQuestionResponse:
        self._count("answer", request, request.answer.answer_id, request.answer)
        await self._here()
        return pb.AnswerQuestionResponse(outcome=pb.ANSWER_OUTCOME_COUNTED, progress=self.progress())

    async def _correct(self, request: pb.CorrectAnswerRequest) -> pb.CorrectAnswerResponse:
        self._count("correct", request, request.answer.answer_id, request.answer)
        await self._here()
        return pb.CorrectAnswerResponse(outcome=pb.ANSWER_OUTCOME_COUNTED, progress=self.progress())

    async def _skip(self, request: pb.SkipQuestionRequest) -> pb.SkipQuestionResponse:
        self._count("skip", request, request.answer_id, pb.PersonAnswer(skipped=request.reason))
        await self._here()
        return pb.SkipQuestionResponse(outcome=pb.ANSWER_OUTCOME_COUNTED, progress=self.progress())

    async def _progress_call(self, request: pb.GetProgressRequest) -> pb.GetProgressResponse:
        if request.run_id != "meal-2":
            raise BadInput("no round")
        return pb.GetProgressResponse(round=self.round(), progress=self.progress())

    def _count(self, kind: str, request: Any, answer_id: str, answer: pb.PersonAnswer) -> None:
        """Count an answer once per id; also when the caller never learns of it, as after a crash."""
        if self.away:
            return
        self.calls.append((kind, request.question_id))
        if answer_id in self.counted:
            return
        self.counted[answer_id] = request.question_id
        self.answers[request.question_id] = answer


async def crowd(
    world: World,
    query: str,
    count: int = 8,
    size: tuple[int, int] = (180, 240),
    scenes: Iterator[tuple[NDArray[np.uint8], tuple[int, int]]] | None = None,
) -> Crowd:
    """A round of ``count`` questions about superpixels (whole images for query image).

    ``scenes``: images, each with the row and column of a pixel that its question is about.
    """
    made, rng = Crowd(query), np.random.default_rng(3)
    for rank in range(count):
        place = (size[0] * (rank % 3 + 1) // 4, size[1] * (rank % 5 + 1) // 6)
        rgb, place = (scene(rng, *size), place) if scenes is None else next(scenes)
        regions = np.zeros(size, np.int32) if query == "image" else partition("slic", {"size": 48}, rgb)
        table = region_table(regions)
        region = int(regions[place])
        y0, x0, y1, x1 = table.box(region)
        inside = regions[y0:y1, x0:x1] == region
        ys, xs = np.mgrid[y0:y1, x0:x1]
        truth = ((ys // 24 + xs // 30) % 4).astype(np.uint8)
        fine = partition("slic", {"size": 8}, rgb[y0:y1, x0:x1].copy()) if min(y1 - y0, x1 - x0) > 16 else None
        question = pb.PersonQuestion(
            question_id=f"{KEY}.{rank}", rank=rank, image_id=f"scene{rank}", image_width=size[1], image_height=size[0],
            region_id=region, pixels=int(inside.sum()),
        )  # fmt: skip
        question.image.CopyFrom(await world.store.put_content(images.encode_png(rgb), PNG))
        question.box.y0, question.box.x0, question.box.y1, question.box.x1 = y0, x0, y1, x1
        question.region.counts.extend(counts(inside))
        question.prediction.CopyFrom(await world.store.put_content(images.encode_png(np.roll(truth, 3, 1)), PNG))
        if fine is not None:
            question.superpixels.CopyFrom(await world.store.put_content(images.encode_png(fine.astype(np.uint16)), PNG))
        if query == "pixel":
            places = rng.choice(np.flatnonzero(inside), 3, replace=False)
            for place in places.tolist():
                question.points.add(y=y0 + place // (x1 - x0), x=x0 + place % (x1 - x0))
        made.questions.append(question)
        made.truth.append(np.where(inside, truth, 255).astype(np.uint8))
    world.extra += made.endpoints()
    return made
