"""One round of questions in memory: what was read from the bucket of questions, and counts over it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from tessera.errors import BadInput
from tessera.formats import questions
from tessera.formats.manifests import DatasetManifest
from tessera.loop.rounds import Asked, Tally
from tessera.pb import questions_pb2 as pb
from tessera.queries import ORACLES
from tessera.queries.oracles.human import HumanParams
from tessera.runtime.people import clock
from tessera.runtime.people.open_questions import OpenQuestions

State = Literal["open", "closing", "closed"]


@dataclass(frozen=True)
class RoundHead:
    """What is stored of a round as a whole, under its key."""

    request: pb.CollectRequest
    round: int
    questions: int
    opened: float
    runs: tuple[str, ...] = ()
    state: State = "open"
    reason: str = ""
    note: str = ""
    response: pb.CollectResponse | None = None

    @cached_property
    def params(self) -> HumanParams:
        """Return the parameters of the oracle."""
        oracle = self.request.oracle
        found = ORACLES.parameters(oracle.name, oracle.parameters)
        assert isinstance(found, HumanParams)  # noqa: S101  # the one oracle by people
        return found

    def to_json(self) -> bytes:
        """Return the head as stored."""
        top: dict[str, Any] = {
            "request": base64.b64encode(self.request.SerializeToString(deterministic=True)).decode(),
            "response": None,
            **{name: getattr(self, name) for name in ("round", "questions", "opened", "state", "reason", "note")},
            "runs": list(self.runs),
        }
        if self.response is not None:
            top["response"] = base64.b64encode(self.response.SerializeToString(deterministic=True)).decode()
        return json.dumps(top, sort_keys=True).encode()

    @staticmethod
    def from_json(data: bytes) -> RoundHead:
        """Read a stored head."""
        top = json.loads(data)
        response = top["response"]
        return RoundHead(
            pb.CollectRequest.FromString(base64.b64decode(top["request"])),
            **{name: top[name] for name in ("round", "questions", "opened", "state", "reason", "note")},
            runs=tuple(top["runs"]),
            response=None if response is None else pb.CollectResponse.FromString(base64.b64decode(response)),
        )


@dataclass
class Round:
    """A round as read so far; ``put`` is the only way in which its questions change.

    Every call about one question costs O(log n) at most: counts are kept up as questions change. A closed round keeps
    its counts alone.
    """

    key: str
    head: RoundHead | None = None
    revision: int = 0
    table: Mapping[str, Any] | None = None
    dataset: DatasetManifest | None = None
    asked: dict[int, Asked] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)
    open: OpenQuestions | None = None
    tally: Tally = field(default_factory=Tally)
    people: dict[str, Tally] = field(default_factory=dict)
    # States that were read before the head.
    early: dict[int, tuple[Asked, int]] = field(default_factory=dict)
    # Ids of the answers that count, once the round is closed.
    final: Mapping[str, int] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    # Of query pixel, over the questions with an answer.
    _points: int = 0

    @property
    def known(self) -> RoundHead:
        """Return the head; BadInput for a round that nobody opened."""
        if self.head is None:
            raise BadInput(f"round {self.key[:80]}: unknown; ListRounds names the rounds")
        return self.head

    @property
    def params(self) -> HumanParams:
        """Return the parameters of the oracle."""
        return self.known.params

    @property
    def waiting(self) -> OpenQuestions:
        """Return the questions that are not settled; of a closed round none."""
        if self.open is None:
            count = 0 if self.known.state == "closed" else self.known.questions
            self.open = OpenQuestions(count, self.asked, self.params)
        return self.open

    def put(self, rank: int, asked: Asked, revision: int) -> None:
        """Take the state of one question, unless a newer one is known."""
        if self.head is None:
            self.early[rank] = asked, revision
            return
        if self.head.state == "closed" or revision <= self.revisions.get(rank, 0):
            return
        before, params = self.asked.get(rank, Asked()), self.params
        for state, sign in ((before, -1), (asked, 1)):
            self.tally.count(state, params, sign)
            for reply in state.replies:
                mine = self.people.setdefault(reply.annotator, Tally())
                mine.answers += sign * (not reply.skipped)
                mine.skipped += sign * bool(reply.skipped)
                mine.seconds += sign * reply.seconds
                mine.clicks += sign * reply.clicks
        self._points += (bool(asked.answers) - bool(before.answers)) * self._points_of(rank)
        self.asked[rank], self.revisions[rank] = asked, revision
        self.waiting.put(rank, clock.now())

    def lead(self, head: RoundHead, revision: int) -> None:
        """Take the head of the round, unless a newer one is known."""
        if revision > self.revision:
            self.head, self.revision = head, revision
            early, self.early = self.early, {}
            for rank, (asked, at) in early.items():
                self.put(rank, asked, at)
            if head.state == "closed":
                self.release()

    def take_table(self, table: Mapping[str, Any]) -> None:
        """Take the questions themselves."""
        self.table = table
        self._points = sum(self._points_of(rank) for rank, asked in self.asked.items() if asked.answers)

    def release(self) -> None:
        """Give back the memory of a closed round: what was said is in its result."""
        self.asked, self.revisions, self.open, self.table = {}, {}, None, None

    def forget(self) -> None:
        """Forget the states of all questions: they are made again from the answers in the store."""
        self.release()
        self.tally, self.people, self.final, self._points = Tally(), {}, None, 0

    def settled(self) -> bool:
        """Return whether every question is."""
        return self.tally.answered + self.tally.skipped >= self.known.questions

    def spent(self) -> float:
        """Return what was paid so far in the unit of the budget, as measured; 0 without a budget."""
        budget = self.known.request.budget
        if budget.unit == "seconds":
            return self.tally.seconds
        if budget.unit == "clicks":
            return float(self.tally.clicks)
        return float(self._points)

    def _points_of(self, rank: int) -> int:
        points = self.table["points"] if self.table is not None else ()
        return len(points[rank]) // 8 if rank < len(points) else 0

    def is_spent(self) -> bool:
        """Return whether the round has a budget and it is spent; the margin is that of `tessera.queries.reach`."""
        head = self.known
        return head.request.HasField("budget") and self.spent() >= head.request.budget.amount * (1 - 1e-9)

    def question(self, rank: int) -> pb.PersonQuestion:
        """Return one question; BadInput when the round has no such."""
        if self.table is None or not 0 <= rank < self.known.questions:
            raise BadInput(f"question {self.key}.{rank}: the round has questions 0 to {self.known.questions - 1}")
        return questions.question(self.table, self.key, rank)

    def progress(self, now: float) -> pb.RoundProgress:
        """Return the counts of the round."""
        head, tally = self.known, self.tally
        made = pb.RoundProgress(
            questions=head.questions,
            answered=tally.answered,
            skipped=tally.skipped,
            leased=self.waiting.leased(now),
            answers=tally.answers,
            seconds=max(tally.seconds, 0.0),
            clicks=tally.clicks,
            agreement=tally.agreement / tally.agreements if tally.agreements else -1.0,
            disputed=tally.disputed,
        )
        if head.state == "closed" and head.response is not None:
            # The states of its questions are gone; the counts that matter are in the result.
            made.answered, made.skipped = head.response.answered, head.response.skipped
        holding = self.waiting.holding(now)
        for name in sorted({*self.people, *holding}):
            mine = self.people.get(name, Tally())
            made.annotators.add(
                annotator=name,
                answered=mine.answers,
                skipped=mine.skipped,
                seconds=max(mine.seconds, 0.0),
                clicks=mine.clicks,
                leased=holding.get(name, 0),
            )
        if head.request.HasField("budget"):
            made.budget_unit, made.budget_amount = head.request.budget.unit, head.request.budget.amount
            made.budget_spent = self.spent()
        if tally.last:
            made.last_answer.FromMilliseconds(int(tally.last * 1000))
        return made

    def message(self, *, paused: bool) -> pb.QuestionRound:
        """Return what clients see of the round."""
        head = self.known
        states = {
            "open": pb.ROUND_STATE_PAUSED if paused else pb.ROUND_STATE_OPEN,
            "closing": pb.ROUND_STATE_CLOSING,
            "closed": pb.ROUND_STATE_CLOSED,
        }
        made = pb.QuestionRound(
            key=self.key,
            run_ids=head.runs,
            round=head.round,
            state=states[head.state],
            query=head.request.query,
            oracle=head.request.oracle,
            questions=head.questions,
            overlap=self.params.overlap,
        )
        made.opened.FromMilliseconds(int(head.opened * 1000))
        if self.dataset is not None:
            made.dataset_name, made.ignore_index = self.dataset.name, self.dataset.ignore_index
            for index, one in enumerate(self.dataset.classes):
                made.classes.add(index=index, name=one.name, color="#{:02x}{:02x}{:02x}".format(*one.color))
        return made
