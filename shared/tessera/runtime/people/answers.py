"""Answers of people in the object store: one object each, written before anything counts it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from tessera.errors import BadInput, CorruptObject
from tessera.formats import questions, schemas, tables
from tessera.formats.media import PARQUET
from tessera.loop import rounds
from tessera.loop.rounds import Asked, Statement
from tessera.lru import CountLimitedLRU
from tessera.pb import questions_pb2 as pb
from tessera.queries.given import agreement, runs_to_mask
from tessera.queries.oracles.human import HumanParams
from tessera.runtime.objects import ObjectStore
from tessera.runtime.people import clock
from tessera.runtime.people.round import Round

_TOGETHER: Final = 32
_ANSWER_BYTES: Final = 64 << 20
_SHORT: Final = ("rank", "annotator", "answer_id", "answered_at", "skipped", "seconds", "clicks", "page_version")
"""Columns of `schemas.ANSWERS`: the rank and the fields of a `Statement`, in their order."""
_JSON: Final = "application/json"
Stored = tuple[str, str, float, pb.PersonAnswer]
"""Question id, annotator, time, and the answer itself."""


class StoredAnswers:
    """The answers in one store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._fixed: CountLimitedLRU[str, dict[int, Asked]] = CountLimitedLRU(2)

    async def keep(self, question: pb.PersonQuestion, annotator: str, answer: pb.PersonAnswer) -> float:
        """Put an answer into the store, once; returns its time. BadInput where its id names another answer."""
        name, at = questions.answer_key(*questions.place(question.question_id), answer.answer_id), clock.now()
        before = await self._store.read_key(name, _ANSWER_BYTES)
        if before is None:
            await self._store.put(name, questions.to_json(question, annotator, answer, at), _JSON)
            return at
        _, who, at, known = questions.from_json(before, name)
        if who != annotator or known != answer:
            raise BadInput(f"answer_id {answer.answer_id}: names another answer already; make a new id for each answer")
        return at

    async def read(self, keys: Sequence[str]) -> AsyncIterator[list[Stored | None]]:
        """Yield answers, some at a time in the order of their keys; None for a key without an object."""
        for first in range(0, len(keys), _TOGETHER):
            names = keys[first : first + _TOGETHER]
            found = await self._store.read_keys(names, _ANSWER_BYTES)
            yield await asyncio.to_thread(_parsed, found, names)

    async def of(self, found: Round, rank: int, replies: Iterable[Statement]) -> list[pb.PersonAnswer]:
        """Return what some replies to a question say; CorruptObject where one is lost."""
        keys = [questions.answer_key(found.key, rank, one.answer_id) for one in replies]
        stored = [one async for some in self.read(keys) for one in some]
        return [_there(key, one)[3] for key, one in zip(keys, stored, strict=True)]

    async def judge(self, found: Round, rank: int, asked: Asked) -> Asked:
        """Return a question's state with the agreement of its answers."""
        if len(asked.answers) < 2:
            return asked
        question, query = found.question(rank), found.known.request.query.name
        box = question.box
        said = [questions.given(one, query, box) for one in await self.of(found, rank, asked.answers)]
        inside = runs_to_mask(question.region.counts, box.y1 - box.y0, box.x1 - box.x0)
        return rounds.judged(asked, agreement(said, query, inside), found.params)

    async def told(self, found: Round, rank: int, asked: Asked) -> list[pb.AnnotatorAnswer]:
        """Return what was said about one question, by time."""
        made = []
        for reply, answer in zip(asked.replies, await self.of(found, rank, asked.replies), strict=True):
            made.append(pb.AnnotatorAnswer(annotator=reply.annotator, answer=answer))
            made[-1].time.FromMilliseconds(int(reply.at * 1000))
        return sorted(made, key=lambda one: one.time.ToMilliseconds())

    async def states(self, found: Round) -> dict[int, Asked]:
        """Make the states of a round's questions from all its stored answers, in the order of their times."""
        told_of = questions.asked_key(found.key, "").removesuffix(".json")
        prefix = questions.answer_prefix(found.key)
        keys = [key for key in await self._store.list(prefix) if not key.startswith(told_of)]
        # Without what they say, which is large.
        told = [
            (questions.place(one[0])[1], reply_of(*one[1:]))
            async for some in self.read(keys)
            for one in some
            if one is not None
        ]
        params, asked = found.params, dict[int, Asked]()
        for rank, reply in sorted(told, key=lambda one: (one[1].at, one[1].answer_id)):
            asked[rank] = rounds.replied(asked.get(rank, Asked()), reply, params)[0]
        return asked

    async def fixed(self, found: Round) -> dict[int, Asked]:
        """Return the states of a closed round's questions as they count, from its result."""
        kept, response = self._fixed.get(found.key), found.known.response
        if kept is None and response is not None:
            data = await self._store.get(response.answers)
            kept = await asyncio.to_thread(_states, tables.read(schemas.ANSWERS, data, "answers", _SHORT))
            self._fixed.put(found.key, kept)
        return kept or {}

    async def result(self, found: Round) -> pb.CollectResponse:
        """Write the answers that count, and return what the round came to."""
        table, head = found.table, found.known
        assert table is not None  # noqa: S101  # the round is ready
        chosen, counts = await asyncio.to_thread(_chosen, sorted(found.asked.items()), found.params)
        keys = [questions.answer_key(found.key, rank, one.answer_id) for rank, one in chosen]
        rows, columns = iter(zip(chosen, keys, strict=True)), questions.AnswerColumns(table)
        async for some in self.read(keys):
            for stored in some:
                (rank, reply), key = next(rows)
                measured = reply.seconds, reply.clicks, reply.at
                columns.add(rank, reply.annotator, _there(key, stored)[3], measured)
        answers = await self._store.put_content(await asyncio.to_thread(columns.table), PARQUET)
        left = head.questions - counts["answered"] - counts["skipped"]
        replies = [one for asked in found.asked.values() for one in asked.replies]
        return pb.CollectResponse(
            answers=answers,
            questions=head.questions,
            left=left,
            reason=head.reason,
            measured_seconds=math.fsum(one.seconds for one in replies),
            measured_clicks=sum(one.clicks for one in replies),
            **counts,
        )


def _chosen(states: list[tuple[int, Asked]], params: HumanParams) -> tuple[list[tuple[int, Statement]], dict[str, int]]:
    """Return what counts of each question, and how many questions are answered and skipped."""
    counts, chosen = {"answered": 0, "skipped": 0}, list[tuple[int, Statement]]()
    for rank, asked in states:
        skipped = rounds.outcome(asked, params) == "skipped"
        chosen += [(rank, one) for one in (asked.skips if skipped else asked.answers)]
        counts["skipped"] += skipped
        counts["answered"] += bool(asked.answers) and not skipped
    return chosen, counts


def _states(table: dict[str, Any]) -> dict[int, Asked]:
    made = dict[int, Asked]()
    for rank, *row in zip(*(table[name].tolist() for name in _SHORT), strict=True):
        before = made.get(rank, Asked())
        made[rank] = replace(before, replies=(*before.replies, Statement(*row)))
    return made


def _parsed(found: Sequence[bytes | None], names: Sequence[str]) -> list[Stored | None]:
    return [None if data is None else questions.from_json(data, name) for data, name in zip(found, names, strict=True)]


def reply_of(annotator: str, at: float, answer: pb.PersonAnswer) -> Statement:
    """Return the reply that an answer is."""
    return Statement(
        annotator, answer.answer_id, at, answer.skipped, answer.seconds, answer.clicks, answer.page_version
    )


def _there(key: str, stored: Stored | None) -> Stored:
    if stored is None:
        raise CorruptObject(f"object {key}: the answer of a person is lost; restore it from a backup")
    return stored
