"""One round of questions in memory: what was read from the bucket of questions, and counts over it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tessera.errors import BadInput
from tessera.formats import questions
from tessera.formats.manifests import DatasetManifest
from tessera.loop import rounds
from tessera.loop.rounds import Asked, Tally
from tessera.pb import questions_pb2 as pb
from tessera.queries import ORACLES
from tessera.queries.oracles.human import HumanParams

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
    """A round as read so far; ``put`` is the only way in which its questions change."""

    key: str
    head: RoundHead | None = None
    revision: int = 0
    table: Mapping[str, Any] | None = None
    dataset: DatasetManifest | None = None
    asked: dict[int, Asked] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)
    # Ranks that somebody holds or held; a settled question is dropped from it.
    held: set[int] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    people: dict[str, Tally] = field(default_factory=dict)
    # States that were read before the head.
    early: dict[int, tuple[Asked, int]] = field(default_factory=dict)
    # Ids of the answers that count, once the round is closed.
    final: Mapping[str, int] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _first: int = 0

    @property
    def known(self) -> RoundHead:
        """Return the head; BadInput for a round that nobody opened."""
        if self.head is None:
            raise BadInput(f"round {self.key[:80]}: unknown; ListRounds names the rounds")
        return self.head

    @property
    def params(self) -> HumanParams:
        """Return the parameters of the oracle."""
        oracle = self.known.request.oracle
        found = ORACLES.parameters(oracle.name, oracle.parameters)
        assert isinstance(found, HumanParams)  # noqa: S101  # the one oracle by people
        return found

    def put(self, rank: int, asked: Asked, revision: int) -> None:
        """Take the state of one question, unless a newer one is known."""
        if self.head is None:
            self.early[rank] = asked, revision
            return
        if revision <= self.revisions.get(rank, 0):
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
        self.asked[rank], self.revisions[rank] = asked, revision
        if asked.holds and not rounds.outcome(asked, params):
            self.held.add(rank)
        else:
            self.held.discard(rank)

    def lead(self, head: RoundHead, revision: int) -> None:
        """Take the head of the round, unless a newer one is known."""
        if revision > self.revision:
            self.head, self.revision = head, revision
            early, self.early = self.early, {}
            for rank, (asked, at) in early.items():
                self.put(rank, asked, at)

    def forget(self) -> None:
        """Forget the states of all questions: they are made again from the answers in the store."""
        self.asked, self.revisions, self.held, self._first = {}, {}, set(), 0
        self.tally, self.people, self.final = Tally(), {}, None

    def settled(self) -> bool:
        """Return whether every question is."""
        return self.tally.answered + self.tally.skipped >= self.known.questions

    def open_ranks(self) -> Iterator[int]:
        """Yield the ranks of questions that are not settled, in order."""
        params, count = self.params, self.known.questions
        while self._first < count and rounds.outcome(self.asked.get(self._first, Asked()), params):
            self._first += 1
        for rank in range(self._first, count):
            if not rounds.outcome(self.asked.get(rank, Asked()), params):
                yield rank

    def reopen(self) -> None:
        """Search open questions from the first one again: a correction may have made a settled one open."""
        self._first = 0

    def leased(self, now: float) -> int:
        """Return how many questions somebody holds."""
        return sum(bool(self.asked[rank].holders(now)) for rank in self.held)

    def spent(self) -> float:
        """Return what was paid so far in the unit of the budget, as measured; 0 without a budget."""
        budget = self.known.request.budget
        if budget.unit == "seconds":
            return self.tally.seconds
        if budget.unit == "clicks":
            return float(self.tally.clicks)
        points = self.table["points"] if self.table is not None else []
        answered = (rank for rank, asked in self.asked.items() if asked.answers)
        return float(sum(len(points[rank]) // 8 for rank in answered if rank < len(points)))

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
            leased=self.leased(now),
            answers=tally.answers,
            seconds=max(tally.seconds, 0.0),
            clicks=tally.clicks,
            agreement=tally.agreement / tally.agreements if tally.agreements else -1.0,
            disputed=tally.disputed,
        )
        if head.state == "closed" and head.response is not None:
            # The states of its questions are gone; the counts that matter are in the result.
            made.answered, made.skipped = head.response.answered, head.response.skipped
        holding: dict[str, int] = {}
        for rank in self.held:
            for name in self.asked[rank].holders(now):
                holding[name] = holding.get(name, 0) + 1
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
