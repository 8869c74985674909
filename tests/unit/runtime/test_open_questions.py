"""Who can be handed which question, against a search through all questions."""

from __future__ import annotations

import contextlib
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.loop import rounds
from tessera.loop.rounds import Asked, Statement
from tessera.queries.oracles.human import HumanParams
from tessera.runtime.people.open_questions import OpenQuestions

PEOPLE = ("ann", "bob", "eve")
COUNT = 6
KINDS = ("take", "renew", "reply", "skip", "release", "dispute", "wait")


def compared(found: OpenQuestions, asked: dict[int, Asked], params: HumanParams, now: float) -> None:
    """Compare every answer with one that looks at all questions."""
    states = [asked.get(rank, Asked()) for rank in range(COUNT)]
    is_open = [not rounds.outcome(one, params) for one in states]
    live = [one.holders(now) if is_open[rank] else () for rank, one in enumerate(states)]
    assert found.leased(now) == sum(bool(one) for one in live)
    for who in PEOPLE:
        mine = [rank for rank in range(COUNT) if who in live[rank]]
        assert found.held_by(who, now) == mine
        assert found.holding(now).get(who, 0) == len(mine)
        free = [r for r, one in enumerate(states) if r not in mine and rounds.may_hold(one, who, now, params)]
        for most in (2, COUNT + 1):
            with contextlib.closing(found.free(who, now)) as ranks:
                assert list(itertools.islice(ranks, most)) == free[:most]
        left = [r for r, one in enumerate(states) if is_open[r] and r not in mine and one.reply_of(who) is None]
        assert found.left_for(who) == len(left)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.sampled_from(PEOPLE), st.integers(0, COUNT - 1), st.integers(0, 5)),
        max_size=40,
    ),
)
def test_it_is_the_search_through_all_questions(overlap, skips, actions):
    params, asked, now = HumanParams(overlap=overlap, skips=skips), dict[int, Asked](), 0.0
    found = OpenQuestions(COUNT, asked, params)

    def put(rank: int, state: Asked) -> None:
        asked[rank] = state
        found.put(rank, now)

    compared(found, asked, params, now)
    for number, (kind, who, rank, seconds) in enumerate(actions):
        state = asked.get(rank, Asked())
        if kind == "take":
            with contextlib.closing(found.free(who, now)) as ranks:
                for rank in itertools.islice(ranks, 2):
                    # What is taken while others are looked for is heeded.
                    put(rank, rounds.held(asked.get(rank, Asked()), who, now + 1 + seconds, now))
        elif kind == "renew" and rounds.may_hold(state, who, now, params):
            put(rank, rounds.held(state, who, now + 1 + seconds, now))
        elif kind in ("reply", "skip"):
            said = Statement(who, f"id-{number}", now, "dark" if kind == "skip" else "", 2.0, 3, "page/1")
            put(rank, rounds.replied(state, said, params)[0])
        elif kind == "release":
            put(rank, rounds.released(state, who))
        elif kind == "dispute" and len(state.answers) > 1:
            put(rank, rounds.judged(state, seconds / 5, params))
        elif kind == "wait":
            now += seconds
        compared(found, asked, params, now)


def test_nobody_looks_at_all_questions_again():
    """With 50,000 questions answered by one of two, the next one of each is found in their heaps at once."""
    count, params, asked = 100_000, HumanParams(overlap=2), dict[int, Asked]()
    found = OpenQuestions(count, asked, params)
    for rank in range(count // 2):
        asked[rank] = Asked(replies=(Statement("ann", f"id-{rank}", 0.0),))
        found.put(rank, 0.0)
    looked = 0
    plain = found._lies

    def counted(rank: int, group: frozenset[str]) -> bool:
        nonlocal looked
        looked += 1
        return plain(rank, group)

    found._lies = counted  # type: ignore[method-assign]
    for who, first in (("ann", count // 2), ("bob", 0)):
        for _ in range(100):
            with contextlib.closing(found.free(who, 0.0)) as ranks:
                assert next(ranks) == first
    # Once past what left the heap of untouched questions, then a few each time.
    assert looked < count // 2 + 200 * 6
