"""How far a budget reaches, against adding up one by one."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.queries import Answer, reach
from tessera.queries.choices import study_seconds


def answer(clicks, seconds=1.0, pixels=1):
    return Answer((0,), pixels, clicks, clicks, seconds, None)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 200))
def test_reach_stops_behind_the_first_answer_that_reaches_the_amount(prices, amount):
    asked = reach([answer(price) for price in prices], "clicks", amount)
    assert 1 <= asked <= len(prices)
    spent = sum(prices[:asked])
    assert spent >= amount or asked == len(prices)
    assert asked == 1 or spent - prices[asked - 1] < amount, "overshoots by less than one answer"


def test_rounding_asks_no_question_more():
    answers = [answer(1, seconds=7.28)] * 100
    for count in range(1, 100):
        assert reach(answers, "seconds", 7.28 * count) == count
        assert reach(answers, "seconds", sum([7.28] * count)) == count


def test_every_price_counts_its_own():
    answers = [dataclasses.replace(answer(3, 10.0, 100), clicks_without_undefined=0)] * 5
    assert reach(answers, "clicks", 7) == 3, "clicks on undefined are clicks"
    assert reach(answers, "seconds", 10.5) == 2
    assert reach(answers, "pixels", 400) == 4
    assert reach([], "clicks", 3) == 0


@pytest.mark.parametrize(("unit", "amount"), [("regions", 3), ("clicks", 0), ("clicks", float("nan")), ("seconds", -1)])
def test_nothing_else_is_a_price(unit, amount):
    with pytest.raises(BadInput):
        reach([answer(1)], unit, amount)


def test_seconds_of_the_user_study():
    multi, dominant = (7.28, 9.58, 14.79), (6.38, 8.02, 8.60)
    assert [study_seconds(multi, 4.0, n) for n in (1, 2, 3)] == [(s, "user_study") for s in multi]
    assert study_seconds(multi, 4.0, 5) == (14.79 + 8, "user_study_extrapolated")
    assert study_seconds(dominant, 1.11, 4)[0] == pytest.approx(9.71)
