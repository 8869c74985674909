"""Answers of people in the object store: one object each, written before anything counts it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from tessera.errors import BadInput, CorruptObject
from tessera.formats import questions
from tessera.formats.media import PARQUET
from tessera.loop import rounds
from tessera.loop.rounds import Asked, Statement
from tessera.pb import questions_pb2 as pb
from tessera.runtime.objects import ObjectStore
from tessera.runtime.people import clock
from tessera.runtime.people.round import Round

_TOGETHER: Final = 32
_ANSWER_BYTES: Final = 64 << 20
_JSON: Final = "application/json"
Stored = tuple[str, str, float, pb.PersonAnswer]
"""Question id, annotator, time, and the answer itself."""


class StoredAnswers:
    """The answers in one store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

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

    async def read(self, keys: Iterable[str]) -> list[Stored | None]:
        """Read answers, some at a time; None for a key without an object."""
        names, made = list(keys), list[Stored | None]()

        async def one(name: str) -> Stored | None:
            data = await self._store.read_key(name, _ANSWER_BYTES)
            return None if data is None else questions.from_json(data, name)

        for first in range(0, len(names), _TOGETHER):
            made += await asyncio.gather(*(one(name) for name in names[first : first + _TOGETHER]))
        return made

    async def of(self, found: Round, rank: int, replies: Iterable[Statement]) -> list[pb.PersonAnswer]:
        """Return what some replies to a question say; CorruptObject where one is lost."""
        keys = [questions.answer_key(found.key, rank, one.answer_id) for one in replies]
        return [_there(key, stored)[3] for key, stored in zip(keys, await self.read(keys), strict=True)]

    async def states(self, found: Round) -> dict[int, Asked]:
        """Make the states of a round's questions from all its stored answers, in the order of their times."""
        keys = await self._store.list(questions.answer_prefix(found.key))
        told = [one for one in await self.read(keys) if one is not None]
        params, asked = found.params, dict[int, Asked]()
        for id_, annotator, at, answer in sorted(told, key=lambda one: (one[2], one[3].answer_id)):
            rank = questions.place(id_)[1]
            asked[rank] = rounds.replied(asked.get(rank, Asked()), reply_of(annotator, at, answer), params)[0]
        return asked

    async def result(self, found: Round) -> pb.CollectResponse:
        """Write the answers that count, and return what the round came to."""
        counts, chosen = {"answered": 0, "skipped": 0}, list[tuple[int, Statement]]()
        for rank, asked in sorted(found.asked.items()):
            skipped = rounds.outcome(asked, found.params) == "skipped"
            chosen += [(rank, one) for one in (asked.skips if skipped else asked.answers)]
            counts["skipped"] += skipped
            counts["answered"] += bool(asked.answers) and not skipped
        assert found.table is not None  # noqa: S101  # the round is ready
        keys = [questions.answer_key(found.key, rank, one.answer_id) for rank, one in chosen]
        rows = list[dict[str, Any]]()
        for (rank, reply), key, stored in zip(chosen, keys, await self.read(keys), strict=True):
            measured = reply.seconds, reply.clicks, reply.at
            rows.append(questions.answer_row(found.table, rank, reply.annotator, _there(key, stored)[3], measured))
        answers = await self._store.put_content(await asyncio.to_thread(questions.answers_table, rows), PARQUET)
        total = found.known.questions
        left = total - counts["answered"] - counts["skipped"]
        return pb.CollectResponse(answers=answers, questions=total, left=left, reason=found.known.reason, **counts)


def reply_of(annotator: str, at: float, answer: pb.PersonAnswer) -> Statement:
    """Return the reply that an answer is."""
    return Statement(
        annotator, answer.answer_id, at, answer.skipped, answer.seconds, answer.clicks, answer.page_version
    )


def _there(key: str, stored: Stored | None) -> Stored:
    if stored is None:
        raise CorruptObject(f"object {key}: the answer of a person is lost; restore it from a backup")
    return stored
