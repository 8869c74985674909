"""The state of one question to people, and its changes. Pure: times are given, in seconds since 1970.

A question needs ``overlap`` answers, and one more where they differ too much. Leases say who works on it; they never
decide whether an answer counts, so a clock that jumps loses nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

from tessera.errors import BadInput
from tessera.queries.oracles.human import HumanParams


@dataclass(frozen=True, slots=True)
class Hold:
    """An annotator works on the question until a time."""

    annotator: str
    until: float


@dataclass(frozen=True, slots=True)
class Statement:
    """What one annotator said about the question; the content is in the store, under the answer's id."""

    annotator: str
    answer_id: str
    at: float
    skipped: str = ""
    """Why there is no answer; empty: there is one."""
    seconds: float = 0.0
    """Measured, replaced answers included."""
    clicks: int = 0
    page: str = ""
    earlier: tuple[str, ...] = ()
    """Ids of the answers that this one replaced."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: who holds it, and what was said. At most one hold and one reply per annotator."""

    holds: tuple[Hold, ...] = ()
    replies: tuple[Statement, ...] = ()
    disputed: bool = False
    """Whether the answers differ so much that one more annotator is asked."""
    agreement: float = -1.0

    @property
    def answers(self) -> tuple[Statement, ...]:
        """Return the replies that are answers, by time."""
        return tuple(sorted((one for one in self.replies if not one.skipped), key=lambda one: (one.at, one.answer_id)))

    @property
    def skips(self) -> tuple[Statement, ...]:
        """Return the replies that are none, by time."""
        return tuple(sorted((one for one in self.replies if one.skipped), key=lambda one: (one.at, one.answer_id)))

    def reply_of(self, annotator: str) -> Statement | None:
        """Return what an annotator said."""
        return next((one for one in self.replies if one.annotator == annotator), None)

    def holders(self, now: float) -> tuple[str, ...]:
        """Return who works on it now."""
        return tuple(one.annotator for one in self.holds if one.until > now)


def needed(asked: Asked, params: HumanParams) -> int:
    """Return how many answers the question needs."""
    return params.overlap + (1 if asked.disputed else 0)


def outcome(asked: Asked, params: HumanParams) -> Literal["", "answered", "skipped"]:
    """Return how the question is settled; empty while it is not."""
    if len(asked.answers) >= needed(asked, params):
        return "answered"
    if len(asked.skips) >= params.skips:
        return "answered" if asked.answers else "skipped"
    return ""


def may_hold(asked: Asked, annotator: str, now: float, params: HumanParams) -> bool:
    """Return whether the question can be handed to an annotator: it needs more answers than others work on."""
    if outcome(asked, params) or asked.reply_of(annotator) is not None:
        return False
    others = [one for one in asked.holders(now) if one != annotator]
    return len(asked.answers) + len(others) < needed(asked, params)


def held(asked: Asked, annotator: str, until: float, now: float) -> Asked:
    """Hand the question to an annotator, or renew the hold; ended holds are forgotten."""
    others = tuple(one for one in asked.holds if one.annotator != annotator and one.until > now)
    return replace(asked, holds=(*others, Hold(annotator, until)))


def released(asked: Asked, annotator: str) -> Asked:
    """Take the question back from an annotator."""
    return replace(asked, holds=tuple(one for one in asked.holds if one.annotator != annotator))


def replied(
    asked: Asked, reply: Statement, params: HumanParams
) -> tuple[Asked, Literal["counted", "not_needed", "replaced"]]:
    """Add a reply; the same one again changes nothing, another one of the same annotator replaces the first.

    ``not_needed``: others have given all answers that the question needs. ``replaced``: a correction of this reply is
    there already.
    """
    mine = asked.reply_of(reply.annotator)
    if mine is not None:
        if mine.answer_id == reply.answer_id:
            return asked, "counted"
        if reply.answer_id in mine.earlier:
            return asked, "replaced"
        reply = replace(
            reply,
            at=mine.at if not mine.skipped and not reply.skipped else reply.at,
            seconds=mine.seconds + reply.seconds,
            clicks=mine.clicks + reply.clicks,
            earlier=(*mine.earlier, mine.answer_id),
        )
        others = tuple(one for one in asked.replies if one.annotator != reply.annotator)
        return replace(released(asked, reply.annotator), replies=(*others, reply)), "counted"
    if outcome(asked, params):
        return released(asked, reply.annotator), "not_needed"
    return replace(released(asked, reply.annotator), replies=(*asked.replies, reply)), "counted"


def judged(asked: Asked, agreement: float, params: HumanParams) -> Asked:
    """Note how far the answers agree; ask one more annotator where that is less than the recipe asks for."""
    enough = len(asked.answers) >= params.overlap and params.overlap > 1
    disputed = asked.disputed or (enough and params.resolve == "third" and agreement < params.agreement)
    return replace(asked, agreement=agreement, disputed=disputed)


def to_json(asked: Asked) -> bytes:
    """Return the state as stored."""
    return json.dumps(asdict(asked), sort_keys=True, separators=(",", ":")).encode()


def from_json(data: bytes) -> Asked:
    """Read a stored state; BadInput when it is none."""
    try:
        top = json.loads(data)
        return Asked(
            tuple(Hold(str(one["annotator"]), float(one["until"])) for one in top["holds"]),
            tuple(Statement(**{**one, "earlier": tuple(one["earlier"])}) for one in top["replies"]),
            bool(top["disputed"]),
            float(top["agreement"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"state of a question: unreadable ({type(error).__name__})") from None


@dataclass
class Tally:
    """Counts of a round, kept up as its questions change."""

    answered: int = 0
    skipped: int = 0
    answers: int = 0
    seconds: float = 0.0
    clicks: int = 0
    disputed: int = 0
    agreements: int = 0
    agreement: float = 0.0
    last: float = 0.0

    def count(self, asked: Asked, params: HumanParams, sign: int) -> None:
        """Add (1) or take away (-1) a question."""
        how = outcome(asked, params)
        self.answered += sign * (how == "answered")
        self.skipped += sign * (how == "skipped")
        self.answers += sign * len(asked.answers)
        self.seconds += sign * math.fsum(one.seconds for one in asked.replies)
        self.clicks += sign * sum(one.clicks for one in asked.replies)
        self.disputed += sign * asked.disputed
        if asked.agreement >= 0:
            self.agreements += sign
            self.agreement += sign * asked.agreement
        if sign > 0:
            self.last = max([self.last, *(one.at for one in asked.replies)])
