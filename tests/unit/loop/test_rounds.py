"""The state of one question: leases, answers, overlaps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.loop import rounds
from tessera.loop.rounds import Asked, Statement
from tessera.queries.oracles.human import HumanParams

PEOPLE = ("ann", "bob", "eve")


def said(who: str, id_: str, at: float = 1.0, skipped: str = "") -> Statement:
    return Statement(who, id_, at, skipped, 2.0, 3, "page/1")


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(("hold", "reply", "skip", "release")), st.sampled_from(PEOPLE)), max_size=25),
)
def test_never_more_people_than_the_recipe_asks_for(overlap, actions):
    params, asked, now = HumanParams(overlap=overlap), Asked(), 0.0
    counted = dict.fromkeys(PEOPLE, 0)
    for number, (kind, who) in enumerate(actions):
        now += 1.0
        before = asked
        if kind == "hold" and rounds.may_hold(asked, who, now, params):
            asked = rounds.held(asked, who, now + 3, now)
            assert who in asked.holders(now)
        elif kind == "release":
            asked = rounds.released(asked, who)
        elif kind in ("reply", "skip"):
            asked, told = rounds.replied(
                asked, said(who, f"id-{number}", now, "dark" if kind == "skip" else ""), params
            )
            counted[who] += told == "counted"
            assert told != "not_needed" or rounds.outcome(before, params)
        holding = asked.holders(now)
        assert len(holding) == len(set(holding))
        if not rounds.outcome(asked, params):
            assert len(asked.answers) + len(set(holding) - {one.annotator for one in asked.answers}) <= overlap + 1
        assert len({one.annotator for one in asked.replies}) == len(asked.replies)
        assert rounds.from_json(rounds.to_json(asked)) == asked
    # What was measured is never lost: every counted reply, replaced ones included, is in the sums.
    assert sum(one.clicks for one in asked.replies) == 3 * sum(counted.values())


def test_a_lease_that_ended_can_be_taken_by_somebody_else():
    params = HumanParams()
    asked = rounds.held(Asked(), "ann", 10.0, 0.0)
    assert not rounds.may_hold(asked, "bob", 5.0, params)
    assert rounds.may_hold(asked, "ann", 5.0, params)
    assert rounds.may_hold(asked, "bob", 10.0, params)
    assert rounds.held(asked, "bob", 20.0, 10.0).holders(10.0) == ("bob",)


def test_the_same_answer_counts_once_and_a_correction_replaces_it():
    params = HumanParams()
    asked, told = rounds.replied(Asked(), said("ann", "first-id", 1.0), params)
    again, twice = rounds.replied(asked, said("ann", "first-id", 9.0), params)
    assert (told, twice, again) == ("counted", "counted", asked)
    asked, told = rounds.replied(asked, said("ann", "second-id", 5.0), params)
    assert told == "counted"
    (reply,) = asked.answers
    assert (reply.answer_id, reply.earlier, reply.seconds, reply.clicks) == ("second-id", ("first-id",), 4.0, 6)
    assert rounds.replied(asked, said("ann", "first-id", 1.0), params) == (asked, "replaced")
    assert rounds.replied(asked, said("bob", "other-id"), params) == (asked, "not_needed")


def test_a_question_is_left_out_when_enough_people_skip_it():
    params = HumanParams(skips=2)
    asked, _ = rounds.replied(Asked(), said("ann", "first-id", 1.0, "blurred"), params)
    assert rounds.outcome(asked, params) == ""
    assert not rounds.may_hold(asked, "ann", 2.0, params)
    assert rounds.may_hold(asked, "bob", 2.0, params)
    skipped, _ = rounds.replied(asked, said("bob", "other-id", 3.0, "dark"), params)
    assert rounds.outcome(skipped, params) == "skipped"
    answered, _ = rounds.replied(asked, said("bob", "other-id", 3.0), params)
    assert rounds.outcome(answered, params) == "answered"


@pytest.mark.parametrize(
    ("resolve", "agreement", "needed"), [("third", 0.5, 3), ("third", 0.95, 2), ("majority", 0.5, 2)]
)
def test_a_third_is_asked_where_two_differ(resolve, agreement, needed):
    params = HumanParams(overlap=2, resolve=resolve)
    asked, _ = rounds.replied(Asked(), said("ann", "first-id", 1.0), params)
    asked, _ = rounds.replied(asked, said("bob", "other-id", 2.0), params)
    asked = rounds.judged(asked, agreement, params)
    assert rounds.needed(asked, params) == needed
    assert rounds.outcome(asked, params) == ("answered" if needed == 2 else "")
    assert rounds.may_hold(asked, "eve", 3.0, params) == (needed == 3)


def test_counts_follow_the_questions():
    params, tally = HumanParams(), rounds.Tally()
    states = [Asked()]
    states.append(rounds.held(states[-1], "ann", 9.0, 0.0))
    states.append(rounds.replied(states[-1], said("ann", "first-id", 4.0), params)[0])
    states.append(rounds.replied(states[-1], said("ann", "second-id", 6.0), params)[0])
    for before, after in pairwise(states):
        tally.count(before, params, -1)
        tally.count(after, params, 1)
    assert (tally.answered, tally.answers, tally.seconds, tally.clicks, tally.last) == (1, 1, 4.0, 6, 4.0)


def test_an_unreadable_state_is_bad_input():
    for data in (b"", b"[]", b'{"holds":1}', b'{"holds":[],"replies":[{}],"disputed":false,"agreement":0}'):
        with pytest.raises(BadInput, match="state of a question"):
            rounds.from_json(data)
