"""A client of QuestionsService for adapters: questions are held for a tool, and its annotations are given as answers.

A tool holds questions under a name of its own (``label-studio``), so that the labelling page hands them to nobody else.
Answers are given in the names of the people who annotated there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

from google.protobuf.message import Message

from tessera.adapters import replies
from tessera.adapters.replies import ToolReply
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput, Unavailable
from tessera.formats.questions import place
from tessera.pb import questions_pb2 as pb
from tessera.runtime.rpc import Channel

T = TypeVar("T", bound=Message)
SERVICE: Final = "tessera.v1.QuestionsService"
_CALL_SECONDS: Final = 20.0
_MOST: Final = 1000
_PATIENCE: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses between tries while the coordinator is away or closes a round, seconds."""
_OUTCOMES: Final = {
    pb.ANSWER_OUTCOME_COUNTED: "counted",
    pb.ANSWER_OUTCOME_NOT_NEEDED: "not_needed",
    pb.ANSWER_OUTCOME_LATE: "late",
    pb.ANSWER_OUTCOME_REPLACED: "replaced",
}


class HeldQuestions(NamedTuple):
    """Questions that a tool holds."""

    questions: list[pb.PersonQuestion]
    spent: bool
    """Whether the budget of the round is spent: the round waits for what is still held, until it is given back."""


class QuestionsClient:
    """A client of QuestionsService at ``host:port``; an async context manager."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise BadInput(f"coordinator {address!r}: not an address; write host:port")
        self._channel = Channel(address)

    async def __aenter__(self) -> QuestionsClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def rounds(self, run_id: str) -> list[pb.QuestionRound]:
        """Return the rounds of a run, closed ones included, oldest first; BadInput for a run that is not known."""
        found = await self._call("ListRounds", pb.ListRoundsRequest(run_id=run_id), pb.ListRoundsResponse)
        return list(found.rounds)

    async def views(self, round_key: str, *, answers: bool = False) -> AsyncIterator[pb.QuestionView]:
        """Yield the questions of a round with their state, in rank order; with ``answers``, what was said so far."""
        request = pb.ListQuestionsRequest(round_key=round_key, with_answers=answers)
        while True:
            page = await self._call("ListQuestions", request, pb.ListQuestionsResponse)
            for one in page.questions:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def hold(self, round_key: str, tool: str, count: int, seconds: float) -> HeldQuestions:
        """Hold ``count`` questions of a round for a tool, those that it holds already first; fewer if it has no more.

        ``seconds`` begin anew for all of them.
        """
        leases, wait = list[pb.PersonQuestion](), pb.NEXT_WAIT_UNSPECIFIED
        # One holder has at most a thousand questions.
        for first in range(0, count, _MOST):
            request = pb.NextQuestionsRequest(
                round_key=round_key,
                annotator=holder(tool, first // _MOST),
                count=min(_MOST, count - first),
                lease_seconds=seconds,
            )
            found = await self._call("NextQuestions", request, pb.NextQuestionsResponse)
            leases += [one.question for one in found.leases]
            wait = found.wait
        return HeldQuestions(leases, spent=wait == pb.NEXT_WAIT_SPENT)

    async def release(self, annotator: str, question_ids: Iterable[str]) -> None:
        """Give back what an annotator holds of these questions, which are of open rounds."""
        request = pb.ReleaseQuestionsRequest(annotator=annotator, question_ids=question_ids)
        await self._call("ReleaseQuestions", request, pb.ReleaseQuestionsResponse)

    async def send(self, question_id: str, annotator: str, answer: pb.PersonAnswer, *, correct: bool) -> str:
        """Give an answer or a skip; returns counted, not_needed, late or replaced. BadInput where it does not fit."""
        request: Message
        response: type[Any]
        if answer.WhichOneof("content") == "skipped":
            name, response = "SkipQuestion", pb.SkipQuestionResponse
            request = pb.SkipQuestionRequest(
                question_id=question_id,
                annotator=annotator,
                answer_id=answer.answer_id,
                reason=answer.skipped,
                seconds=answer.seconds,
                clicks=answer.clicks,
                page_version=answer.page_version,
            )
        elif correct:
            name, response = "CorrectAnswer", pb.CorrectAnswerResponse
            request = pb.CorrectAnswerRequest(question_id=question_id, annotator=annotator, answer=answer)
        else:
            name, response = "AnswerQuestion", pb.AnswerQuestionResponse
            request = pb.AnswerQuestionRequest(question_id=question_id, annotator=annotator, answer=answer)
        return _OUTCOMES[(await self._call(name, request, response)).outcome]

    async def _call(self, name: str, request: Message, response: type[T]) -> T:
        for pause in _PATIENCE:
            with contextlib.suppress(Unavailable):
                return await self._channel.call(f"{SERVICE}/{name}", request, response, _CALL_SECONDS)
            await asyncio.sleep(pause)
        return await self._channel.call(f"{SERVICE}/{name}", request, response, _CALL_SECONDS)


def holder(tool: str, number: int) -> str:
    """Return the name under which a tool holds its ``number``-th thousand of questions."""
    return tool if number == 0 else f"{tool}.{number}"


class GivenRound:
    """One open round whose questions a tool has: its tasks, and what was answered so far. Each answer is given once."""

    def __init__(self, client: QuestionsClient, message: pb.QuestionRound) -> None:
        self.round = ToolRound.of(message)
        self.tasks: dict[str, ToolTask] = {}
        """By question id; without predictions."""
        self._client = client
        self._said: dict[str, dict[str, pb.PersonAnswer]] = {}
        """Question id → annotator → answer."""
        self._holders: dict[str, list[str]] = {}

    async def load(self) -> None:
        """Read the questions and the answers so far."""
        async for view in self._client.views(self.round.key, answers=True):
            id_ = view.question.question_id
            self.tasks.setdefault(id_, ToolTask.of(view.question))
            self._said[id_] = {one.annotator: one.answer for one in view.answers}
            self._holders[id_] = list(view.holders)

    def of_tool(self, tool: str) -> set[str]:
        """Return the ids of questions that a tool holds or has answered; what it says of others was not asked of it."""
        held = {id_ for id_, names in self._holders.items() if any(one.partition(".")[0] == tool for one in names)}
        said = {
            id_
            for id_, by_annotator in self._said.items()
            if any(one.page_version.partition("/")[0] == tool for one in by_annotator.values())
        }
        return held | said

    async def give(self, reply: ToolReply) -> str:
        """Give a reply as an answer; returns counted, known (given before), not_needed, late or replaced.

        A changed annotation corrects its earlier answer, and brings the time that was added since. BadInput: the person
        has answered in another place, or the answer does not fit the question.
        """
        id_, who = reply.question_id, replies.annotator_name(reply.annotator)
        before = self._said.get(id_, {}).get(who)
        if before is not None and before.answer_id == reply.answer_id:
            return "known"
        seconds = self._earlier(reply, before, who)
        if seconds is None:
            return "replaced"
        answer = replies.answer(reply, self.round, seconds)
        if before is not None and not answer.seconds and _says_the_same(before, answer):
            # The place was touched, or read at another time, and the answer stayed.
            return "known"
        outcome = await self._client.send(id_, who, answer, correct=before is not None)
        self._said.setdefault(id_, {})[who] = answer
        for one in self._holders.pop(id_, []):
            # The tool is done with it, unless another of its annotators is needed; then it is held again.
            if one.partition(".")[0] == reply.tool.partition("/")[0]:
                await self._client.release(one, [id_])
        return outcome

    def _earlier(self, reply: ToolReply, before: pb.PersonAnswer | None, who: str) -> float | None:
        """Return the seconds that the person's earlier answer brought; None where that one is newer than the reply."""
        if before is None:
            return 0.0
        if before.skipped and before.page_version == reply.tool:
            # A skip is stored without its place.
            return before.seconds
        where, seconds, changed = replies.earlier(before)
        if where != reply.place:
            where = where or before.page_version or "the labelling page"
            raise BadInput(f"{who} has answered this question already ({where}); correct that answer instead")
        return None if changed > reply.changed else seconds


class OpenRounds:
    """The open rounds of a run, for tools that give answers to any of them."""

    def __init__(self, run_id: str, known: dict[str, pb.QuestionRound]) -> None:
        self._run_id, self.known = run_id, known
        self.given: dict[str, GivenRound] = {}
        """By round key; open rounds only."""

    async def load(self, client: QuestionsClient) -> None:
        """Read the questions of open rounds that are not here yet."""
        for key, one in self.known.items():
            if one.state == pb.ROUND_STATE_OPEN and key not in self.given:
                made = GivenRound(client, one)
                await made.load()
                self.given[key] = made

    def asked(self, id_: str) -> tuple[ToolRound, ToolTask]:
        """Return the question of a task; BadInput where it takes no answer."""
        key, _ = place(id_)
        if key not in self.known:
            raise BadInput(f"question {id_[:80]!a}: is of no round of run {self._run_id}")
        if self.known[key].state != pb.ROUND_STATE_OPEN or key not in self.given:
            raise BadInput(f"round {self.known[key].round} is over; its answers came too late")
        given = self.given[key]
        if id_ not in given.tasks:
            raise BadInput(f"question {id_[:80]!a}: is none of round {self.known[key].round}")
        return given.round, given.tasks[id_]

    async def give(self, reply: ToolReply) -> str:
        """Give a reply to the round of its question (`GivenRound.give`)."""
        return await self.given[place(reply.question_id)[0]].give(reply)


async def open_round(client: QuestionsClient, run_id: str) -> pb.QuestionRound:
    """Return the round of a run that can be answered now; BadInput where there is none."""
    found = [one for one in await client.rounds(run_id) if one.state == pb.ROUND_STATE_OPEN]
    if not found:
        raise BadInput(f"run {run_id}: has no open round; tessera status shows what it waits for")
    return found[-1]


async def open_rounds(client: QuestionsClient, run_id: str) -> OpenRounds:
    """Return the open rounds of a run with their questions."""
    made = OpenRounds(run_id, {one.key: one for one in await client.rounds(run_id)})
    await made.load(client)
    return made


def _says_the_same(one: pb.PersonAnswer, other: pb.PersonAnswer) -> bool:
    kind = one.WhichOneof("content")
    return kind == other.WhichOneof("content") and kind is not None and getattr(one, kind) == getattr(other, kind)
