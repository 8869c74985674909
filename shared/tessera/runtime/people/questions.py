"""QuestionsService: calls of annotators and their pages, answered from the desk."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tessera.errors import BadInput
from tessera.formats import questions as formats
from tessera.loop import rounds
from tessera.loop.rounds import Asked
from tessera.pb import questions_pb2 as pb
from tessera.runtime.access import CALLING
from tessera.runtime.people import clock
from tessera.runtime.people.desk import Desk
from tessera.runtime.people.round import Round
from tessera.runtime.rpc import Endpoint, Unary

_SERVICE: Final = "tessera.v1.QuestionsService"
_MOST: Final = 1000
_CLOSE_SECONDS: Final = 10.0
"""How long CloseRound waits for the end; a large round is told to be closing."""
_LEASE: Final = (10.0, 2_592_000.0)
_OUTCOMES: Final = {
    "counted": pb.ANSWER_OUTCOME_COUNTED,
    "not_needed": pb.ANSWER_OUTCOME_NOT_NEEDED,
    "late": pb.ANSWER_OUTCOME_LATE,
    "replaced": pb.ANSWER_OUTCOME_REPLACED,
}


class QuestionCalls:
    """One method per RPC; each may be called again with the same effect."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list(self, request: pb.ListRoundsRequest) -> pb.ListRoundsResponse:
        """Return the rounds of a run, or those of all runs that are not closed, oldest first."""
        known = [one for one in self._desk.rounds.values() if one.head is not None]
        if request.run_id:
            self._run(request.run_id)
            wanted = [one for one in known if request.run_id in one.known.runs]
        else:
            wanted = [one for one in known if one.known.state != "closed"]
        response = pb.ListRoundsResponse()
        for one in sorted(wanted, key=lambda one: one.known.opened):
            response.rounds.append(self._message(await self._desk.described(one.key)))
        return response

    async def next(self, request: pb.NextQuestionsRequest) -> pb.NextQuestionsResponse:
        """Lease questions to an annotator until it holds ``count``."""
        _named(request.annotator)
        if not 1 <= request.count <= _MOST:
            raise BadInput(f"count: {request.count}; give 1 to {_MOST}")
        seconds = _lease(request.lease_seconds)
        found = await self._find(request.run_id, request.round_key)
        if found is None:
            return pb.NextQuestionsResponse(wait=pb.NEXT_WAIT_NO_ROUND)
        response = pb.NextQuestionsResponse()
        if found.known.state == "open" and not self._desk.paused(found):
            await self._desk.ready(found.key)
            async with found.lock:
                await self._fill(found, request, seconds or found.params.lease_seconds, response)
        if len(response.leases) < request.count:
            response.wait = self._why(found, request.annotator)
        response.round.CopyFrom(self._message(found))
        response.progress.CopyFrom(found.progress(clock.now()))
        return response

    async def _fill(
        self, found: Round, request: pb.NextQuestionsRequest, seconds: float, response: pb.NextQuestionsResponse
    ) -> None:
        """Add leases to the response: those that the annotator has, renewed, then new ones in rank order."""
        who, now = request.annotator, clock.now()
        mine = found.waiting.held_by(who, now)
        held = set(mine)
        with contextlib.closing(found.waiting.free(who, now)) as free:
            for rank in itertools.chain(mine, free):
                if len(response.leases) >= request.count or (rank not in held and found.is_spent()):
                    return
                if rounds.may_hold(found.asked.get(rank, Asked()), who, now, found.params):
                    await self._hold(found, rank, who, now + seconds, response)

    async def _hold(self, found: Round, rank: int, who: str, until: float, response: Any) -> None:
        now = clock.now()

        def decide(asked: Asked) -> Asked:
            return rounds.held(asked, who, until, now) if rounds.may_hold(asked, who, now, found.params) else asked

        after = await self._desk.change(found, rank, decide)
        if who in after.holders(now):
            lease = response.leases.add(question=found.question(rank))
            lease.expires.FromMilliseconds(int(1000 * max(one.until for one in after.holds if one.annotator == who)))

    def _why(self, found: Round, who: str) -> pb.NextWait:
        """Return why an annotator can have no more questions."""
        if found.known.state != "open" or found.settled() or self._desk.paused(found):
            return pb.NEXT_WAIT_CLOSED
        if found.is_spent():
            return pb.NEXT_WAIT_SPENT
        return pb.NEXT_WAIT_HELD if found.waiting.left_for(who) else pb.NEXT_WAIT_OTHERS

    async def renew(self, request: pb.RenewLeasesRequest) -> pb.RenewLeasesResponse:
        """Renew leases; a lease that has ended is renewed where nobody else has taken the question."""
        _named(request.annotator)
        response, seconds = pb.RenewLeasesResponse(), _lease(request.lease_seconds)
        for id_ in request.question_ids[:_MOST]:
            key, rank = formats.place(id_)
            found = await self._desk.ready(key)
            known = found.asked.get(rank, Asked())
            if found.known.state == "open" and any(one.annotator == request.annotator for one in known.holds):
                until = clock.now() + (seconds or found.params.lease_seconds)
                await self._hold(found, rank, request.annotator, until, response)
        for lease in response.leases:
            lease.question.CopyFrom(pb.PersonQuestion(question_id=lease.question.question_id))
        return response

    async def release(self, request: pb.ReleaseQuestionsRequest) -> pb.ReleaseQuestionsResponse:
        """Give questions back."""
        _named(request.annotator)
        for id_ in request.question_ids:
            key, rank = formats.place(id_)
            found = await self._desk.ready(key)
            if found.known.state == "open":
                await self._desk.change(found, rank, lambda asked: rounds.released(asked, request.annotator))
        return pb.ReleaseQuestionsResponse()

    async def answer(self, request: pb.AnswerQuestionRequest) -> pb.AnswerQuestionResponse:
        """Answer a question."""
        _named(request.annotator)
        _said(request.answer)
        told = await self._desk.reply(request.question_id, request.annotator, request.answer)
        return pb.AnswerQuestionResponse(outcome=_OUTCOMES[told], progress=self._progress(request.question_id))

    async def correct(self, request: pb.CorrectAnswerRequest) -> pb.CorrectAnswerResponse:
        """Replace the annotator's own answer."""
        _named(request.annotator)
        _said(request.answer)
        told = await self._desk.reply(request.question_id, request.annotator, request.answer, correct=True)
        return pb.CorrectAnswerResponse(outcome=_OUTCOMES[told], progress=self._progress(request.question_id))

    async def skip(self, request: pb.SkipQuestionRequest) -> pb.SkipQuestionResponse:
        """Say that the annotator cannot answer."""
        _named(request.annotator)
        answer = pb.PersonAnswer(
            answer_id=request.answer_id,
            skipped=request.reason,
            seconds=request.seconds,
            clicks=request.clicks,
            page_version=request.page_version,
        )
        told = await self._desk.reply(request.question_id, request.annotator, answer)
        return pb.SkipQuestionResponse(outcome=_OUTCOMES[told], progress=self._progress(request.question_id))

    async def close(self, request: pb.CloseRoundRequest) -> pb.CloseRoundResponse:
        """End a round early; BadInput where nobody has answered."""
        found = await self._found(request.run_id, request.round_key)
        if found.known.state == "open":
            if not found.tally.answers:
                raise BadInput(f"round {found.key}: has no answer yet; answer a question, or cancel the run")
            await self._desk.close(found, "closed", request.reason, _CLOSE_SECONDS)
        now = clock.now()
        return pb.CloseRoundResponse(round=self._message(found), progress=found.progress(now))

    async def progress(self, request: pb.GetProgressRequest) -> pb.GetProgressResponse:
        """Return the counts of a round."""
        found = await self._found(request.run_id, request.round_key)
        if found.known.state == "open" and found.known.request.HasField("budget"):
            await self._desk.ready(found.key)  # what a question costs may be among them
        return pb.GetProgressResponse(round=self._message(found), progress=found.progress(clock.now()))

    async def questions(self, request: pb.ListQuestionsRequest) -> pb.ListQuestionsResponse:
        """Return a page of a round's questions with their state."""
        if request.page_token and not (request.page_token.isdecimal() and len(request.page_token) < 10):
            raise BadInput(f"page_token {request.page_token[:80]!a}: is not a token that this call returned")
        found, now = await self._found(request.run_id, request.round_key), clock.now()
        await self._desk.ready(found.key)
        first = int(request.page_token or 0)
        last = min(first + (request.page_size if 0 < request.page_size < _MOST else _MOST), found.known.questions)
        response = pb.ListQuestionsResponse(next_page_token=str(last) if last < found.known.questions else "")
        states = await self._desk.answers.fixed(found) if found.known.state == "closed" else found.asked
        for rank in range(first, last):
            asked = states.get(rank, Asked())
            view = response.questions.add(question=found.question(rank), holders=asked.holders(now))
            settled = {"answered": pb.QUESTION_STATE_ANSWERED, "skipped": pb.QUESTION_STATE_SKIPPED}
            waiting = pb.QUESTION_STATE_LEASED if view.holders else pb.QUESTION_STATE_FREE
            view.state = settled.get(rounds.outcome(asked, found.params), waiting)
            if request.with_answers:
                view.answers.extend(await self._desk.answers.told(found, rank, asked))
        return response

    async def _find(self, run_id: str, key: str) -> Round | None:
        """Return the round that is meant: the newest of a run; None where the run has none that is not closed."""
        if key:
            return await self._desk.described(key)
        self._run(run_id)
        known = [one for one in self._desk.rounds.values() if one.head is not None and run_id in one.known.runs]
        waiting = [one for one in known if one.known.state != "closed"]
        if not waiting:
            return None
        return await self._desk.described(max(waiting, key=lambda one: one.known.opened).key)

    async def _found(self, run_id: str, key: str) -> Round:
        found = await self._find(run_id, key)
        if found is None:
            raise BadInput(f"run {run_id}: waits for no answers; tessera status shows what it does")
        return found

    def _run(self, run_id: str) -> None:
        if not self._desk.runs.known(run_id):
            raise BadInput(f"run {run_id[:128]!r}: unknown; tessera status lists the runs")

    def _message(self, found: Round) -> pb.QuestionRound:
        return found.message(paused=self._desk.paused(found))

    def _progress(self, id_: str) -> pb.RoundProgress:
        return self._desk.rounds[formats.place(id_)[0]].progress(clock.now())


def _named(annotator: str) -> None:
    """Check the name under which the caller answers."""
    formats.check_annotator(annotator)
    CALLING.get().check_answers_as(annotator)


def _said(answer: pb.PersonAnswer) -> None:
    if answer.WhichOneof("content") == "skipped":
        raise BadInput("answer: skipped is set; call SkipQuestion")


def _lease(seconds: float) -> float:
    if seconds and not _LEASE[0] <= seconds <= _LEASE[1]:
        raise BadInput(f"lease_seconds: {seconds:g}; give {_LEASE[0]:g} to {_LEASE[1]:,.0f}, or 0 for the recipe's")
    return seconds


def endpoints(questions: QuestionCalls) -> list[Endpoint]:
    """Return QuestionsService's methods."""
    table: dict[str, tuple[type[Any], Callable[[Any], Awaitable[Any]]]] = {
        "ListRounds": (pb.ListRoundsRequest, questions.list),
        "NextQuestions": (pb.NextQuestionsRequest, questions.next),
        "RenewLeases": (pb.RenewLeasesRequest, questions.renew),
        "ReleaseQuestions": (pb.ReleaseQuestionsRequest, questions.release),
        "AnswerQuestion": (pb.AnswerQuestionRequest, questions.answer),
        "CorrectAnswer": (pb.CorrectAnswerRequest, questions.correct),
        "SkipQuestion": (pb.SkipQuestionRequest, questions.skip),
        "CloseRound": (pb.CloseRoundRequest, questions.close),
        "GetProgress": (pb.GetProgressRequest, questions.progress),
        "ListQuestions": (pb.ListQuestionsRequest, questions.questions),
    }
    return [Unary(f"{_SERVICE}/{name}", *one) for name, one in table.items()]
